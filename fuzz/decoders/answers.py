"""What a device answers when it is asked, and what a vendor posts: JSON, telegrams, registers of no standard."""

import math
from typing import Any

import numpy as np
from target import Target, target

from gridspine.adapters.modbus.plan import Span
from gridspine.adapters.modbus.readout import Readout
from gridspine.adapters.modbus.register import COUNT_OF, Register, Served, decode
from gridspine.adapters.modbus.wire import to_words
from gridspine.adapters.webhook.wire import Told, is_proven, made_us, mark_of, read_hook, read_post
from gridspine.adapters.wot_http.wire import Form, decode_values
from gridspine.kernel.codecs.pick import Pick
from gridspine.kernel.errors import Invalid

_NOW_US = 1_767_225_600_000_000
_SECRET = "a secret of some length"
_POINTS = {
    "activePower": {"pick": {"plus": ["/kw", "/more/0/w"], "minus": ["/out"], "scale": 1e300}, "unit": "kW"},
    "operatingState": {"pick": {"plus": ["/state"], "codes": {"on": 1.0, "off": 0.0, "true": 1.0}}},
    "frequency": {"pick": {"plus": [""]}},
}
_WORDS = [
    b"1e999", b"-1e309", b"NaN", b"null", b"true", b'"on"', b"[[[[", b"{" * 200, b"\\ud800", b"99999999999999999999999",
    b"2026-01-01T24:00:00Z", b"9999-12-31T23:59:60Z", b"\xff\xfe", b'"kw":', b'"at":', b"\n", b"0", b"1767225600",
]  # fmt: skip


def _finite(values: Any) -> None:
    for value in values:
        if not isinstance(value, str) and not math.isfinite(value):
            raise AssertionError("a reading is no finite number")


@target
def webhook_posts() -> Target:
    """A post: method, path, proof, time and body, by every way to prove it and every way to say its time."""
    hooks = [
        read_hook({"secret": "a", "points": _POINTS, "replayable": True, "time": time, "timeForm": form, **more})
        for time, form in (("", "rfc3339"), ("/at", "rfc3339"), ("/at", "s"), ("/at", "ms"))
        for more in ({}, {"proof": "token"}, {"proof": "hmac-sha512", "encoding": "base64", "covers": "body"})
    ]

    def run(data: bytes) -> tuple[Any, ...]:
        head, _, body = data.partition(b"\n\n")
        method, path, said, timestamp = (*head.decode("latin-1").split("\n"), "", "", "", "")[:4]
        told = Told(method, path, said, timestamp)
        shapes: list[Any] = [made_us(timestamp) is None, len(mark_of(told, body))]
        for hook in hooks:
            is_proven(hook, _SECRET, told, body)  # nobody knows the secret: it must only not fall over
            found = read_post(hook, "urn:x:a", body, _NOW_US)
            _finite(found.value.tolist())
            if len(found) + len(found.problems) not in {1, len(_POINTS)}:
                raise AssertionError("a value ended as neither a reading nor a problem")
            shapes.append((len(found), *(one.reason for one in found.problems)))
        return tuple(shapes)

    seeds = [
        b'POST\n/urn:x:a\nabc\n1767225600\n\n{"kw": 1.5, "out": 2, "more": [{"w": 1}], "state": "on", "at": '
        b'"2026-01-01T00:00:00Z"}',
        b'POST\n/a\na secret of some length\n\n\n{"at": 1767225600.5, "state": true}', b"PUT\n\n\n\n\n-1.5",
    ]  # fmt: skip
    return Target("webhook-posts", "posts of vendors", run, (), seeds, _WORDS, shape=lambda shapes: shapes)


@target
def wot_http_answers() -> Target:
    """An answer as each form reads it: the value itself, picked out of JSON, or out of a meter's telegram."""
    forms = {name: Form("/", pick=Pick(**_tuples(one["pick"]))) for name, one in _POINTS.items()} | {
        "plain": Form("/"),
        "word": Form("/", codes={"on": 1.0, "true": 1.0}),
        "telegram": Form("/", pick=Pick(("/1-0:1.7.0",), ("/1-0:2.7.0",)), form="telegram"),
    }

    def run(data: bytes) -> tuple[Any, ...]:
        found = [decode_values(data, media, forms) for media in ("application/json", "text/plain; charset=utf-8")]
        for values in found:
            _finite(values.values())
            if values.keys() != forms.keys():
                raise AssertionError("a point has neither a value nor a word why not")
        return tuple(type(one).__name__ for values in found for one in values.values())

    seeds = [
        b"12.5", b'"on"', b"true", b'{"kw": 1.5, "out": 2, "more": [{"w": 1}], "state": "on"}',
        b"/ISk5\\2MT382-1000\r\n\r\n1-0:1.7.0(00.033*kW)\r\n1-0:2.7.0(00.676*kW)\r\n!EF2F\r\n",
    ]  # fmt: skip
    words = [*_WORDS, b"1-0:1.7.0(", b"*kW)", b"\r\n!", b"/ISk5"]
    return Target("wot-http-answers", "answers over HTTP, telegrams", run, (), seeds, words, shape=lambda said: said)


def _tuples(pick: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in pick.items()}


@target
def modbus_registers() -> Target:
    """Registers of a device of no standard, decoded together: what each is alone, and finite."""
    kinds = sorted(set(COUNT_OF) - {"bit"})
    read = [
        Register("holding", at, kind, at % 2 == 1, at % 3 == 1, factor)
        for at, (kind, factor) in enumerate(zip(kinds, (1.0, 0.1, -1.0, 1e300, 1e-300, 1000.0, 0.3) * 2, strict=False))
    ]
    length = max(one.address + one.count for one in read)
    served = {f"p{at}": Served(one) for at, one in enumerate(read)}
    made = Readout("urn:x:a", served, [("holding", Span(0, length))])

    def run(data: bytes) -> tuple[int, int]:
        words = (*to_words(data[: len(data) & ~1]), *[0] * length)[:length]
        came = np.arange(length) < len(data) // 2
        found, problems = made.read(np.array(words, np.uint16), came, _NOW_US)
        _finite(found.value.tolist())
        if len(found) + len(problems) != len(read):
            raise AssertionError("a point is neither a reading nor told")
        values = {
            found.names[place]: value for place, value in zip(found.name_index, found.value.tolist(), strict=True)
        }
        for name, one in zip(served, read, strict=True):
            alone = decode(one, words[one.address : one.address + one.count])
            together = values.get(f"urn:x:a/{name}")
            if together is not None and (alone is None or not math.isclose(alone, together, rel_tol=1e-12)):
                raise AssertionError("decoded together it is another number than alone")
        return len(found), len(problems)

    seeds = [bytes(range(2 * length)), b"\x7f\xc0" * length, b"\xff" * 2 * length, b"\x00\x01" * (length // 2)]
    more = [b"\x7f\x80\x00\x00", b"\x7f\xf0", b"\x80\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"]
    return Target("modbus-registers", "Modbus registers of no standard", run, (Invalid,), seeds, more, shape=tuple)
