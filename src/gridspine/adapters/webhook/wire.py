"""Posts: proof and readings. Pure; no I/O.

Sources: RFC 2104 (HMAC) with RFC 6234 (SHA-256, SHA-512); RFC 6901 (JSON Pointer); RFC 3339 (times).
"""

import base64
import dataclasses
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from gridspine.kernel.codecs.pick import Pick, at_pointer, parts_of, picked, read_answer
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name, point_id
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.kernel.units import unit

MIN_SECRET_CHARS, MAX_POINTS = 16, 200
_HASHES = {"hmac-sha256": hashlib.sha256, "hmac-sha512": hashlib.sha512}
_PER_SECOND = {"s": 1.0, "ms": 1e3}
_LAST_S = 4e9
"""Beyond it a number of seconds is none: the year 2096."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a point is in a post, and its ``unit`` there ("": the point's own)."""

    pick: Pick
    unit: str = ""


class Hook(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a binding.

    ``secret`` names the adapter's secret that proves a post: an HMAC of its body in ``header`` after ``prefix``,
    written as ``encoding``; or, with *token*, the secret itself there. ``time`` is a JSON pointer to when the values
    were observed, as ``time_form`` says; "": when the post came.
    """

    secret: str
    points: dict[str, Point]
    proof: Literal["hmac-sha256", "hmac-sha512", "token"] = "hmac-sha256"
    header: str = "x-signature"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    time: str = ""
    time_form: Literal["rfc3339", "s", "ms"] = "rfc3339"


def read_hook(connection: Any) -> Hook:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        hook = msgspec.convert(connection, Hook)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    if not 0 < len(hook.points) <= MAX_POINTS:
        raise Invalid(f"points: 1 to {MAX_POINTS} are needed")
    if not hook.header or not hook.header.isascii() or not hook.header.replace("-", "").isalnum():
        raise Invalid("header: the name of a header is needed")
    parts_of(hook.time)
    for name, point in hook.points.items():
        check_point_name(name)
        point.pick.check()
        if point.unit:
            unit(point.unit)
    return hook


def is_proven(hook: Hook, secret: str, said: str, body: bytes) -> bool:
    """Whether what a post ``said`` in its header proves ``body``; as long in any case."""
    if hook.proof == "token":
        wanted = hook.prefix + secret
    else:
        digest = hmac.digest(secret.encode(), body, _HASHES[hook.proof])
        wanted = hook.prefix + (digest.hex() if hook.encoding == "hex" else base64.b64encode(digest).decode())
    if hook.proof != "token" and hook.encoding == "hex":
        said = said[: len(hook.prefix)] + said[len(hook.prefix) :].lower()
    return hmac.compare_digest(wanted.encode(), said.encode("utf-8", "replace"))


def read_post(hook: Hook, thing: str, body: bytes, now_us: int) -> NamedReadings:
    """Return the readings of a post, and what is wrong with those that are none; ``now_us`` is when it came [µs]."""
    try:
        document = read_answer(body)
        observed_us = _time(hook, document, now_us)
    except Invalid as error:
        return _with_items([], [], [ItemProblem(0, "unreadable", error.detail)])
    rows: list[tuple[str, str, int, float, int]] = []
    items: list[int] = []
    problems: list[ItemProblem] = []
    for at, (name, point) in enumerate(hook.points.items()):
        id_ = point_id(thing, name)
        try:
            rows.append((id_, point.unit, observed_us, picked(document, point.pick), 0))
            items.append(at)
        except Invalid as error:
            problems.append(ItemProblem(at, "not-a-number", error.detail, id_))
    return _with_items(rows, items, problems)


def _time(hook: Hook, document: Any, now_us: int) -> int:
    if not hook.time:
        return now_us
    said = at_pointer(document, hook.time)
    if hook.time_form == "rfc3339":
        if not isinstance(said, str):
            raise Invalid("its time is no RFC 3339 text")
        try:
            return parse_rfc3339(said)
        except ValueError as error:
            raise Invalid(f"its time is no RFC 3339 text: {error}") from error
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise Invalid("its time is no number")
    seconds = float(said) / _PER_SECOND[hook.time_form] if abs(said) < _LAST_S * 1e3 else math.inf
    if not 0.0 <= seconds <= _LAST_S:
        raise Invalid("its time is no time")
    return round(seconds * US)


def _with_items(
    rows: list[tuple[str, str, int, float, int]], items: list[int], problems: list[ItemProblem]
) -> NamedReadings:
    return dataclasses.replace(named_readings(rows), item=np.array(items, np.int64), problems=problems)


def answer_of(outcome: Mapping[str, int]) -> bytes:
    """Return what a post is answered: how many readings became what."""
    return msgspec.json.encode(dict(outcome))
