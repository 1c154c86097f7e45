"""Posts: proof and readings. Pure; no I/O.

Sources: RFC 2104 (HMAC) with RFC 6234 (SHA-256, SHA-512); RFC 6901 (JSON Pointer); RFC 3339 (times).
"""

import base64
import dataclasses
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from gridspine.kernel.codecs.pick import Pick, at_pointer, parts_of, picked, read_answer
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_point_name, point_id
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.kernel.units import unit

MIN_SECRET_CHARS, MAX_POINTS, MAX_AGE_S = 16, 200, 3_600
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

    ``secret`` names the adapter's secret that proves a post: an HMAC in ``header`` after ``prefix``, written as
    ``encoding``; or, with *token*, the secret itself there. ``time`` is a JSON pointer to when the values were
    observed, as ``time_form`` says; "": when the post came.

    ``covers`` *request*: the HMAC is of method, path, the value of ``timestamp_header`` (seconds since 1970, in digits)
    and the body, each but the last followed by a line feed; a post older or newer than ``max_age_s`` [s] is refused,
    and so is one that was taken before. *body*: of the body alone, for senders that cannot do more, and so for
    *token*: what was overheard can be posted again. Neither is taken unless ``replayable`` says that this is known.
    """

    secret: str
    points: dict[str, Point]
    proof: Literal["hmac-sha256", "hmac-sha512", "token"] = "hmac-sha256"
    header: str = "x-signature"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    covers: Literal["request", "body"] = "request"
    timestamp_header: str = "x-timestamp"
    max_age_s: int = 300
    replayable: bool = False
    time: str = ""
    time_form: Literal["rfc3339", "s", "ms"] = "rfc3339"

    @property
    def guarded(self) -> bool:
        """Whether a post that was overheard is worth nothing."""
        return self.proof != "token" and self.covers == "request"


def read_hook(connection: Any) -> Hook:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        hook = msgspec.convert(connection, Hook)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    if not 0 < len(hook.points) <= MAX_POINTS:
        raise Invalid(f"points: 1 to {MAX_POINTS} are needed")
    for name, header in (("header", hook.header), ("timestampHeader", hook.timestamp_header)):
        if not header or not header.isascii() or not header.replace("-", "").isalnum():
            raise Invalid(f"{name}: the name of a header is needed")
    if not 1 <= hook.max_age_s <= MAX_AGE_S:
        raise Invalid(f"maxAgeS: 1 to {MAX_AGE_S} s")
    if not hook.guarded and not hook.replayable:
        raise Invalid(
            "replayable: with a token, or a proof of the body alone, whoever overhears a post can send it again: let "
            "the sender prove the whole request (covers), or say that you know it"
        )
    parts_of(hook.time)
    for name, point in hook.points.items():
        check_point_name(name)
        point.pick.check()
        if point.unit:
            unit(point.unit)
    return hook


class Told(NamedTuple):
    """What a request says beside its body: ``said`` is its proof, ``timestamp`` when it was made, as it says."""

    method: str
    path: str
    said: str
    timestamp: str = ""


def is_proven(hook: Hook, secret: str, told: Told, body: bytes) -> bool:
    """Whether what a post says in its header proves it; as long in any case."""
    said = told.said
    if hook.proof == "token":
        wanted = hook.prefix + secret
    else:
        head = f"{told.method}\n{told.path}\n{told.timestamp}\n".encode("utf-8", "replace") if hook.guarded else b""
        digest = hmac.digest(secret.encode(), head + body, _HASHES[hook.proof])
        wanted = hook.prefix + (digest.hex() if hook.encoding == "hex" else base64.b64encode(digest).decode())
    if hook.proof != "token" and hook.encoding == "hex":
        said = said[: len(hook.prefix)] + said[len(hook.prefix) :].lower()
    return hmac.compare_digest(wanted.encode(), said.encode("utf-8", "replace"))


def made_us(timestamp: str) -> int | None:
    """Return when a post was made [µs since 1970] by its header, None where that is no number of seconds."""
    whole = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 10
    return int(timestamp) * US if whole else None


def mark_of(told: Told, body: bytes) -> bytes:
    """Return what a post is known again by, 16 bytes: the same whoever sends it, whatever its proof looks like."""
    head = f"{told.method}\n{told.path}\n{told.timestamp}\n".encode("utf-8", "replace")
    return hashlib.blake2b(head + body, digest_size=16).digest()


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
