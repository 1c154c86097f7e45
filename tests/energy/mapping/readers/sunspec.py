"""SunSpec by pysunspec2: from the JSON form into the registers of a device, and out of them."""

import json

from sunspec2.file.client import FileClientModel

from gridspine.energy.mapping import Emission
from tests.energy.mapping.readers.read import Read

# What the definitions call positive, as a factor to import positive.
SIGNS = {(701, "W"): -1, (701, "Var"): -1, (704, "WSet"): -1, (704, "VarSet"): -1, (203, "VAR"): 1}
UNITS = {
    "W": "W", "VA": "VA", "Var": "var", "var": "var", "Wh": "Wh", "V": "V", "A": "A", "Hz": "Hz", "Pct": "%",
    "C": "degC", "HPa": "hPa", "mps": "m/s", "m/s": "m/s", "deg": "deg", "mm": "mm", "W/m2": "W/m2", None: None,
}  # fmt: skip


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        for data in json.loads(document.body)["models"]:
            number = data["ID"]
            written = FileClientModel(model_id=number, data=data)
            assert not written.error_info
            model = FileClientModel(model_id=number, data=written.get_mb())
            for name in set(data) - {"ID"}:
                point = model.points[name]
                assert point.value == data[name], "the registers hold what the document says"
                if point.pdef["type"] != "sunssf" and number != 1:
                    value = float(point.cvalue) * SIGNS.get((number, name), 1)
                    found[f"{number}.{name}"] = Read(value, UNITS[point.pdef.get("units")], None)
    return found
