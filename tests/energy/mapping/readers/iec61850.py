"""SCL by scl_loader, which validates against the SCL schema 2007B4 first."""

import re
import tempfile
from pathlib import Path

from scl_loader import SCD_handler

from gridspine.energy.mapping import Emission
from tests.energy.mapping.readers.read import Read

UNITS = {
    "W": "W", "VA": "VA", "VAr": "var", "Wh": "Wh", "VArh": "varh", "V": "V", "A": "A", "Hz": "Hz", "Hz/s": "Hz/s",
    "deg": "deg", "°C": "degC", "m³": "m3", "m³/s": "m3/s", "Pa": "Pa", "m/s": "m/s", "m": "m", "W/m²": "W/m2",
    "J": "J", None: None,
}  # fmt: skip
MULTIPLIERS = {None: 1.0, "m": 1e-3, "h": 1e2, "k": 1e3}
VALUES = ("mag.f", "cVal.mag.f", "cVal.ang.f", "actVal", "stVal", "general", "mxVal.f", "valWTr.posVal")
WORDS = {"false": 0, "true": 1, "intermediate": 0, "off": 1, "on": 2, "bad": 3}
STATES = {
    "disconnected and available": "avail", "starting up": "starting", "running": "running", "stopping": "stopping",
    "failed": "failed", "disconnected and in maintenance": "maintenance",
}  # fmt: skip


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "thing.scd"
            path.write_bytes(document.body)
            ied = SCD_handler(str(path)).get_all_IEDs()[0]
            assert "import positive" in ied.desc
            for node in ied.get_LD_by_inst("Thing", "Node").get_children("LN"):
                leaves = {name: getattr(leaf, "Val", None) for name, leaf in node.get_DA_leaf_nodes().items()}
                found |= values({name: text for name, text in leaves.items() if text is not None})
    return found


def values(leaves: dict[str, str]) -> dict[str, Read]:
    found = {}
    for name, text in leaves.items():
        for ending in VALUES:
            head = name.removesuffix(f".{ending}")
            if head != name and f"{head}.q" in leaves:
                key = re.sub(r"^Thing\.(\w*?[A-Z]{4})1\.", r"\1.", name)
                unit = "deg" if ending == "cVal.ang.f" else UNITS[leaves.get(f"{head}.units.SIUnit")]
                scale = MULTIPLIERS[leaves.get(f"{head}.units.multiplier")] * float(leaves.get(f"{head}.pulsQty", 1))
                value = WORDS[text] if text in WORDS else STATES.get(text, text)
                number = value if value in STATES.values() else float(value) * scale
                found[key] = Read(number, unit, quality(leaves[f"{head}.q"]))
    return found


def quality(bits: str) -> int:
    assert len(bits) == 13
    return int(bits[:2], 2) | sum(1 << (place + 2) for place, bit in enumerate(bits[2:]) if bit == "1")
