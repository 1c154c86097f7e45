"""A device made of a template: it says what the template reads, by code that shares nothing with the adapters.

::

    template + seed ─► values [unit at the device] ─► Modbus TCP registers │ HTTP answers │ MQTT messages │ posts

For trying a template out without its device, and for the test that every template reads what its device says.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from gridspine.energy.templates import known_models
from gridspine.kernel.errors import Invalid
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel
from gridspine.things.template import (
    Http,
    HttpTemplate,
    ModbusPoint,
    ModbusTemplate,
    Template,
    ValuePoint,
)

_FORMATS = {
    "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q", "float32": ">f",
    "float64": ">d", "int8": ">h", "uint8": ">H",
}  # fmt: skip


@dataclass
class TemplateDevice:
    """A device being played: ``at`` is its address, ``values`` are what a Thing of it must show, in its points' units.

    ``given`` are the parameters it was made with.
    """

    at: str = ""
    values: dict[str, float] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A value as a device says it: the ``raw`` number or word at the place, what it is worth (``value``)."""

    raw: float | str
    value: float


def speak(template: Template, seed: int = 0) -> dict[str, Spoken]:
    """Return what a device of ``template`` says for each point, seeded, and what that is in the point's own unit."""
    model = known_models()(template.class_)
    assert model is not None, "a template was checked"
    rng = np.random.default_rng(seed)
    points: Mapping[str, ModbusPoint | ValuePoint] = template.points
    return {name: _spoken(template, points[name], model.point(name), rng) for name in sorted(points)}


@contextlib.asynccontextmanager
async def serve_template(template: Template, *, port: int = 0, seed: int = 0) -> AsyncIterator[TemplateDevice]:
    """Play a device that is asked, on ``port`` of 127.0.0.1 (0: any free one), until the block ends.

    Raises `Invalid` for a template of a device that speaks by itself: see `messages`.
    """
    spoken = speak(template, seed)
    device = TemplateDevice(values={name: one.value for name, one in spoken.items()}, given=parameters_of(template))
    if isinstance(template, ModbusTemplate):
        async with _modbus(template, spoken, port) as at:
            device.at = at
            yield device
    elif isinstance(template, HttpTemplate):
        token = urlsplit(template.http.token).path if template.http.scheme == "oauth2" else ""
        async with _http(answers(template, spoken, device.given), port, token) as at:
            device.at = at
            yield device
    else:
        raise Invalid("a device of this template speaks by itself, and has no address")


def parameters_of(template: Template) -> dict[str, str]:
    """Return parameters for a device that is played: their defaults, else 1 or a word."""
    return {name: one.default or "1" for name, one in template.parameters.items()}


def messages(template: Template, spoken: Mapping[str, Spoken], given: Mapping[str, str]) -> dict[str, bytes]:
    """Return what a device that speaks by itself says: JSON by topic, or by "" for a webhook."""
    default = getattr(getattr(template, "mqtt", None), "at", "")
    return _bodies(template, spoken, given, default, "json")


def answers(template: HttpTemplate, spoken: Mapping[str, Spoken], given: Mapping[str, str]) -> dict[str, bytes]:
    """Return what a device answers, by path and query; one of a listing stands there after another one."""
    bodies = _bodies(template, spoken, given, template.http.at, template.http.form)
    return (
        {path: _listed(template.http, body, given) for path, body in bodies.items()} if template.http.items else bodies
    )


def _listed(http: Http, body: bytes, given: Mapping[str, str]) -> bytes:
    item: dict[str, Any] = json.loads(body)
    other: dict[str, Any] = {}
    document: dict[str, Any] = {}
    _set(item, _put(http.key, given), _put(http.item, given))
    _set(other, _put(http.key, given), "another")
    _set(document, http.items, [other, item])
    return json.dumps(document).encode()


def _spoken(template: Template, point: ModbusPoint | ValuePoint, model: PointModel, rng: np.random.Generator) -> Spoken:
    if isinstance(point, ValuePoint) and point.codes:
        word = sorted(point.codes)[int(rng.integers(len(point.codes)))]
        return Spoken(word, float(point.codes[word]))
    if model.reading_type.unit == "code":
        codes = sorted(model.reading_type.codes or {"0": ""}, key=int)
        code = float(codes[int(rng.integers(len(codes)))])
        return Spoken(code, code)
    low, high = _range(model)
    own = unit(model.reading_type.unit)
    worth, shift = conversion(unit(point.unit), own)
    wanted = low + (high - low) * float(rng.uniform(0.35, 0.65))
    turn = -1.0 if point.sign == "export_positive" else 1.0
    raw = turn * round((wanted - shift) / worth / point.scale, 3)
    if isinstance(point, ModbusPoint):
        raw = _held(point.type or template.modbus.type, raw)  # type: ignore[union-attr]
    return Spoken(raw, turn * raw * point.scale * worth + shift)


def _range(model: PointModel) -> tuple[float, float]:
    """Return between which values a point usually is."""
    screen = model.screen
    low = screen.limit_min if screen.limit_min is not None else screen.possible_min
    high = screen.limit_max if screen.limit_max is not None else screen.possible_max
    if low is None:
        return 0.0, 1_000.0 if high is None else high
    usual = low + 5_000_000.0  # of a register: what it may hold at all is more than a device ever counts
    return low, usual if high is None else min(high, usual)


def _held(type_: str, raw: float) -> float:
    """Return a number as a register of a type holds it."""
    packed = struct.pack(_FORMATS[type_], raw if type_.startswith("float") else round(raw))
    return float(struct.unpack(_FORMATS[type_], packed)[0])


# -- registers ------------------------------------------------------------------------------------------------------


def registers(template: ModbusTemplate, spoken: Mapping[str, Spoken]) -> dict[str, dict[int, int]]:
    """Return what a device's registers hold: words by address, by entity."""
    found: dict[str, dict[int, int]] = {}
    for name, point in template.points.items():
        entity, type_ = point.entity or template.modbus.entity, point.type or template.modbus.type
        held = found.setdefault(entity, {})
        for at, word in enumerate(_words(template, type_, float(spoken[name].raw))):
            held[point.address + at] = word
    return found


def _words(template: ModbusTemplate, type_: str, raw: float) -> list[int]:
    if type_ == "bit":
        return [int(raw != 0)]
    data = struct.pack(_FORMATS[type_], raw if type_.startswith("float") else round(raw))
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if template.modbus.word_order == "low_first":
        words.reverse()
    order = "little" if template.modbus.byte_order == "low_first" else "big"
    return [int.from_bytes(word, order) for word in words]  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def _modbus(template: ModbusTemplate, spoken: Mapping[str, Spoken], port: int) -> AsyncIterator[str]:
    from pymodbus.constants import ExcCodes
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    held = registers(template, spoken)
    entity_of = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}

    async def access(
        function: int, start: int, address: int, count: int, memory: list[int], values: Any
    ) -> ExcCodes | None:
        if values:
            return ExcCodes.ILLEGAL_FUNCTION
        own = held.get(entity_of.get(function, ""), {})
        if any(at not in own for at in range(address, address + count)):
            return ExcCodes.ILLEGAL_ADDRESS
        for at in range(address, address + count):
            if function > 2:
                memory[at - start] = own[at]
            else:
                memory[(at - start) // 16] |= own[at] << (at - start) % 16
        return None

    used = sorted(address for own in held.values() for address in own)
    # What a device has not it refuses in `access`; the library wants room for all that lies between.
    words = [SimData(used[0], values=[0] * (used[-1] - used[0] + 1), datatype=DataType.REGISTERS)]
    bits = [SimData(used[0], values=[False] * (used[-1] - used[0] + 1), datatype=DataType.BITS)]
    unit_id = template.modbus.unit
    server = ModbusTcpServer(
        SimDevice(id=unit_id, simdata=(bits, bits, words, words), action=access), address=("127.0.0.1", port)
    )
    await server.serve_forever(background=True)
    bound = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"tcp://127.0.0.1:{bound}/{unit_id}"
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


# -- answers and messages -------------------------------------------------------------------------------------------


def _bodies(
    template: Template, spoken: Mapping[str, Spoken], given: Mapping[str, str], default: str, form: str
) -> dict[str, bytes]:
    documents: dict[str, dict[str, Any]] = {}
    for name, point in template.points.items():
        assert isinstance(point, ValuePoint)
        document = documents.setdefault(_put(point.at or default, given), {})
        for place, number in _terms(point, spoken[name].raw):
            _set(document, _put(place, given), number)
    return {
        at: _telegram(one) if form == "telegram" else json.dumps(_lists(one)).encode() for at, one in documents.items()
    }


def _terms(point: ValuePoint, raw: float | str) -> Iterator[tuple[str, Any]]:
    """Yield what stands at each place of a point: a sum is split up, of a difference one side is 0."""
    if point.obis or point.pointer is not None:
        yield (f"/{point.obis}" if point.obis else point.pointer or ""), _number(raw)
        return
    assert not isinstance(raw, str)
    plus = raw if raw >= 0 or not point.minus else 0.0
    for at, place in enumerate(point.plus):
        share = round(plus / len(point.plus), 3)
        yield place, round(plus - share * (len(point.plus) - 1), 3) if at == len(point.plus) - 1 else share
    for at, place in enumerate(point.minus):
        yield place, round(-raw, 3) if raw < 0 and at == 0 else 0.0


def _number(raw: float | str) -> Any:
    if isinstance(raw, str):
        return json.loads(raw) if raw in {"true", "false"} or raw.isdecimal() else raw
    return raw


def _set(document: dict[str, Any], pointer: str, value: Any) -> None:
    *path, last = pointer.lstrip("/").split("/")
    for part in path:
        document = document.setdefault(part, {})
    document[last] = value


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(_lists(document)).encode()


def _lists(value: Any) -> Any:
    """Return a document in which objects whose names are all numbers are lists, with nulls in between."""
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(one) for name, one in value.items()}
    if not inner or not all(name.isdecimal() for name in inner):
        return inner
    return [inner.get(str(at)) for at in range(max(map(int, inner)) + 1)]


def _telegram(document: Mapping[str, Any]) -> bytes:
    lines = [
        f"{code}({float(value):010.3f}*{_UNITS.get(code.split('.')[-2], 'kW')})" for code, value in document.items()
    ]
    text = "\r\n".join(["/PLAYED0 template", "", *lines, "!"])
    return f"{text}{_crc16(text.encode()):04X}\r\n".encode()


_UNITS = {"8": "kWh"}


def _crc16(data: bytes) -> int:
    """Return a telegram's checksum, bit by bit as a shift register of polynomial x16+x15+x2+1 has it."""
    register = 0
    for byte in data:
        for bit in range(8):
            carry = (register ^ byte >> bit) & 1
            register >>= 1
            if carry:
                register ^= 0b1010_0000_0000_0001
    return register


def _put(text: str, given: Mapping[str, str]) -> str:
    for name, value in given.items():
        text = text.replace("{" + name + "}", value)
    return text


_PLAYED = "played"
_TOKEN = json.dumps({"access_token": _PLAYED, "token_type": "bearer", "expires_in": 3_600}).encode()


def _length(head: str) -> int:
    """Return how many bytes of a body follow the head of a request."""
    lines = (line.partition(":") for line in head.lower().split("\r\n"))
    return next((int(value) for name, _, value in lines if name == "content-length"), 0)


@contextlib.asynccontextmanager
async def _http(bodies: Mapping[str, bytes], port: int, token: str) -> AsyncIterator[str]:
    """Serve bodies by path and query; all else is not found. A ``token`` endpoint's token is asked for, where it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                path = [*head.split(" ", 2), "", ""][1]
                # A key in the query, which the template's scheme adds, is passed over.
                body = bodies.get(path, bodies.get(path.partition("?")[0]))
                status = "200 OK" if body is not None else "404 Not Found"
                if token and path == token:
                    await reader.readexactly(_length(head))
                    status, body = "200 OK", _TOKEN
                elif token and f"bearer {_PLAYED}\r\n" not in head.lower():
                    status, body = "401 Unauthorized", b"{}"
                kind = "text/plain" if body is not None and body[:1] == b"/" else "application/json"
                length = f"content-length: {len(body or b'')}"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{length}\r\n\r\n".encode() + (body or b""))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
