"""Our SCL documents against IEC's own name space definitions, which come with OpenEnergyTools' validator from npm.

The validator finds what is mandatory and missing. What it may find are data objects that are mandatory in a device
and not known of a Thing; they are listed, and nothing else may be found. It does not mind names that are unknown: so
those are looked up in the definitions here.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gridspine.energy.mapping import emit
from gridspine.energy.mapping.snapshot import Snapshot
from gridspine.energy.mapping.table import load_table, words
from tests.energy.mapping.samples import MODELS, snapshots

DEFINITIONS = "node_modules/@openenergytools/scl-template-validator/dist/nsd"
NSD = "{http://www.iec.ch/61850/2016/NSD}"
HERE = Path(__file__).parent / "iec61850"
NOT_KNOWN = {
    "MFLW": {"MatTyp", "MatSt"},
    "MHET": {"MatTyp"},
    "XCBR": {"BlkOpn", "BlkCls"},
    "YLTC": {"EndPosR", "EndPosL"},
}
pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not shutil.which("npm"), reason="node and npm are not installed"
)


@pytest.fixture(scope="module")
def installed():
    """Install exactly what is locked, unless that is there."""
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, env=os.environ, timeout=240)


def judged(folder: Path, documents: dict[str, bytes]) -> dict[str, list[str]]:
    """Return what is found wrong with each document."""
    for name, body in documents.items():
        (folder / name).write_bytes(body)
    words = ["node", str(HERE / "judge.js"), *documents]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def whole(model: str) -> Snapshot:
    return next(iter(snapshots(MODELS[model])))


def allowed(words: str) -> bool:
    return any(
        words.endswith(f"({node}) > {name}") and words.startswith(f"The mandatory data object {name} is missing")
        for node, names in NOT_KNOWN.items()
        for name in names
    )


class Definitions:
    """Logical nodes with the classes of their data objects, of IEC 61850-7-4 and 7-420; SI units of 7-3."""

    def __init__(self, folder: Path) -> None:
        self.base: dict[str, str | None] = {}
        self.objects: dict[str, dict[str, str]] = {}
        for file in ("IEC_61850-7-4_2007B3.nsd", "IEC_61850-7-420_2019A4.nsd"):
            for node in ElementTree.parse(folder / file).iter():
                if node.tag in {f"{NSD}LNClass", f"{NSD}AbstractLNClass"}:
                    name = node.attrib["name"]
                    self.base[name] = self.base.get(name) or node.get("base")
                    own = {one.attrib["name"]: one.attrib["type"] for one in node.iter(f"{NSD}DataObject")}
                    self.objects.setdefault(name, {}).update(own)
        kinds = ElementTree.parse(folder / "IEC_61850-7-3_2007B3.nsd").iter(f"{NSD}Enumeration")
        si = next(kind for kind in kinds if kind.attrib["name"] == "SIUnitKind")
        self.units = {one.attrib["name"]: int(one.attrib["literalVal"]) for one in si.iter(f"{NSD}Literal")}

    def find(self, node: str | None, name: str) -> str | None:
        """Return the common data class of a data object, inherited ones too."""
        while node:
            if name in self.objects.get(node, {}):
                return self.objects[node][name]
            node = self.base.get(node)
        return None


def test_logical_nodes_data_objects_and_classes_are_those_of_the_standard(installed):
    known = Definitions(HERE / DEFINITIONS)
    assert known.find("MMXU", "TotW") == "MV"
    assert known.find("MMXU", "TotalPower") is None
    for model, _, point, word in words("iec61850"):
        if not word.none:
            detail = word.detail
            cdc = "WYE" if detail.get("phase") else detail["cdc"]
            assert known.find(detail["ln"], detail["do"]) == cdc, (model, point.name)
    for symbol, (name, number, _) in load_table("iec61850").units.items():
        assert known.units[name] == number, symbol


def test_what_is_mandatory_is_there_or_not_known_of_a_thing(installed, tmp_path):
    emitted = {f"{model}.scd": emit("iec61850", whole(model)).documents for model in MODELS}
    documents = {name: found[0].body for name, found in emitted.items() if found}
    assert len(documents) >= 20
    found = judged(tmp_path, documents)
    assert set(found) == set(documents)
    assert [(name, one) for name, said in found.items() for one in said if not allowed(one)] == []


def test_what_is_left_out_is_found(installed, tmp_path):
    body = emit("iec61850", whole("meter")).documents[0].body
    planted = {
        "attribute.scd": body.replace(b'<DA name="q" fc="MX"', b'<DA name="quality" fc="MX"'),
        "object.scd": body.replace(b'<DO name="Beh" type="Beh"/>', b""),
    }
    found = judged(tmp_path, planted)
    assert all(found[name] for name in planted), found
