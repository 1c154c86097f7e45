"""OpenFMB by the published Protocol Buffers classes (oes-protobuf)."""

import importlib

from google.protobuf.message import Message

from gridspine.energy.mapping import Emission
from gridspine.kernel.quality import Quality
from tests.energy.mapping.readers.read import Read

UNITS = {
    2: "m", 5: "A", 9: "deg", 23: "degC", 29: "V", 33: "Hz", 38: "W", 39: "Pa", 61: "VA", 63: "var", 71: "VAh",
    72: "Wh", 73: "varh", 100: None, 166: "m3", 179: "W/m2",
}  # fmt: skip
MULTIPLIERS = {0: 1.0, 1: 1.0, 6: 1e3, 9: 1e-3}
PHASORS = {"W": "W", "VAr": "var", "VA": "VA", "PhV": "V", "A": "A", "PF": "1"}
REGISTERS = {"DmdWh": "Wh", "SupWh": "Wh", "DmdVArh": "varh", "SupVArh": "varh"}
DETAIL = {
    "badReference": Quality.BAD_REFERENCE, "failure": Quality.FAILURE, "inaccurate": Quality.INACCURATE,
    "inconsistent": Quality.INCONSISTENT, "oldData": Quality.OLD_DATA, "oscillatory": Quality.OSCILLATORY,
    "outOfRange": Quality.OUT_OF_RANGE, "overflow": Quality.OVERFLOW,
}  # fmt: skip


def profile(name: str) -> type[Message]:
    module, message = name.split(".")
    return getattr(importlib.import_module(f"openfmb.{module}.{module}_pb2"), message)


def read(emission: Emission) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for document in emission.documents:
        message = profile(document.name)()
        message.ParseFromString(document.body)
        known = type(message)()
        known.CopyFrom(message)
        known.DiscardUnknownFields()
        assert known.ByteSize() == message.ByteSize(), "every field is one of the profile's"
        text = str(message)
        assert "urn:dev:ops:32473-thing-7" in text
        found |= dict(values(message, document.name))
    return found


def values(message: Message, path: str):
    for field, below in message.ListFields():
        if field.message_type is None:
            continue
        here = f"{path}.{field.name}"
        if not isinstance(below, Message):  # repeated, such as the sides of a breaker
            assert len(below) == 1
            below = below[0]
        if field.message_type.name == "CMV":
            unit = PHASORS[path.rpartition(".")[2]]
            yield here, Read(below.cVal.mag, unit, quality(below))
            yield f"{here}.cVal.ang", Read(below.cVal.ang.value, "deg", quality(below))
        elif field.message_type.name == "MV":
            scale = MULTIPLIERS[below.units.multiplier.value]
            yield here, Read(below.mag * scale, UNITS[below.units.SIUnit], quality(below))
        elif field.message_type.name == "BCR":
            yield here, Read(float(below.actVal), REGISTERS[field.name], quality(below))
        elif field.message_type.name == "StatusDPS":
            # DbPosKind: 1 transient, 2 closed, 3 open, 4 invalid
            yield here, Read({1: 0, 2: 2, 3: 1, 4: 3}[below.stVal], "code", status_quality(below))
        else:
            yield from values(below, here)


def quality(message: Message) -> int:
    clock = Quality.CLOCK_UNSYNCHRONISED if message.t.tq.clockNotSynchronized else 0
    return status_quality(message) | clock


def status_quality(message: Message) -> int:
    q = message.q
    detail = sum(bit for name, bit in DETAIL.items() if getattr(q.detailQual, name))
    return (
        {1: 0, 2: 1, 4: 3}[q.validity]
        | detail
        | (Quality.SUBSTITUTED if q.source == 2 else 0)
        | (Quality.TEST if q.test else 0)
        | (Quality.OPERATOR_BLOCKED if q.operatorBlocked else 0)
        | (Quality.CLOCK_UNSYNCHRONISED if message.t.tq.clockNotSynchronized else 0)
    )
