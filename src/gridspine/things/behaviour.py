"""Behaviours: what the twins of a make and model do by themselves, as versioned packages of data and Starlark.

A package is pure: it is given what a twin knows and its own state, and answers with what follows. It has no clock, no
chance, no memory but its state, and reaches nothing: what it may read, derive and command stands in the package, is
shown to whoever deploys it, and is held to each time.

::

    def on_reading(twin, state): …      a point it listens to was read
    def on_command(twin, state, order): …       an order for one of its Thing's points was given
    def on_timer(twin, state): …        its time has come
        ─► {"state": …, "derived": {point: value}, "set": {point: {"value": …, "duration_s": …}},
            "alarms": {point: True | False}, "wake_in_s": …}       each may be left out; None: nothing

``twin`` is {"thing", "now_s", "channel", "data", "points": {name: {"value", "quality", "age_s"}}};
a point that was never read is None.
"""

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gridspine.infra.runtime.starlark_wire import MAX_TEXT_BYTES
from gridspine.kernel.errors import Invalid
from gridspine.things.model import ThingModel

MAX_DATA_BYTES, MAX_STATE_BYTES = 16 << 10, 4 << 10
MAX_NAMES = 64
MAX_STEPS = 200_000
MIN_INTERVAL_S, MAX_WAIT_S = 0.05, 86_400.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?", re.ASCII)
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)
SIGNATURE_TYPE = "behaviour+jwt"
"""``typ`` of the compact JWS by which a package is signed."""
_DEFINITION = re.compile(r"^def[ \t]+(\w+)[ \t]*\(", re.MULTILINE | re.ASCII)


class Behaviour(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A package: ``name`` and ``version`` (SemVer, numbers only), for the Things of Thing Model ``model``.

    ``listens`` names the points whose readings wake it; ``derives`` those it may give derived values of, ``sets`` those
    it may command with the authority *service*; ``alarms`` says whether it may raise them. ``timer_s`` [s] wakes it
    again and again, 0 never; ``min_interval_s`` [s] lies between two wakes of one Thing at least. ``resident`` agents
    are woken when the node starts and keep their state at hand; others sleep as an index entry until something
    happens. ``max_steps`` are the evaluator's, for one call. ``data`` are its parameters.
    """

    name: str
    version: str
    model: str
    text: str
    title: str = ""
    listens: tuple[str, ...] = ()
    derives: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    alarms: bool = False
    commands: bool = False
    timer_s: float = 0.0
    min_interval_s: float = 1.0
    resident: bool = False
    max_steps: int = 20_000
    data: dict[str, Any] = {}

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not _NAME.fullmatch(self.name):
            raise Invalid("name: small letters, digits, dots and dashes, 64 at most")
        if not _VERSION.fullmatch(self.version):
            raise Invalid("version: three numbers, as 1.0.0")
        if len(self.text.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise Invalid(f"text: at most {MAX_TEXT_BYTES} bytes")
        if len(msgspec.json.encode(self.data)) > MAX_DATA_BYTES or len(self.title) > 200:
            raise Invalid(f"data: at most {MAX_DATA_BYTES} bytes as JSON; title: at most 200 characters")
        if max(len(self.listens), len(self.derives), len(self.sets)) > MAX_NAMES:
            raise Invalid(f"listens, derives, sets: at most {MAX_NAMES} points each")
        if not 1 <= self.max_steps <= MAX_STEPS:
            raise Invalid(f"maxSteps: 1 to {MAX_STEPS}")
        if not MIN_INTERVAL_S <= self.min_interval_s <= MAX_WAIT_S:
            raise Invalid(f"minIntervalS: {MIN_INTERVAL_S:g} to {MAX_WAIT_S:g} s")
        if self.timer_s != 0 and not max(MIN_INTERVAL_S, 1.0) <= self.timer_s <= MAX_WAIT_S:
            raise Invalid(f"timerS: 0, or 1 to {MAX_WAIT_S:g} s")
        if set(self.listens) & set(self.derives):
            raise Invalid("listens, derives: a behaviour does not listen to what it derives itself")

    def check_model(self, model: ThingModel) -> None:
        """Raise `Invalid` where the package asks for what its Thing Model does not have."""
        points = {point.name: point for point in model.points}
        for field, names in (("listens", self.listens), ("derives", self.derives), ("sets", self.sets)):
            missing = sorted(set(names) - set(points))
            if missing:
                raise Invalid(f"{field}: {model.id} has no point {missing[0][:64]!r}")
        for name in self.sets:
            rule = points[name].lease
            if rule is None or rule.role != "setpoint":
                raise Invalid(f"sets: {name} takes no set-points")
        for name in self.derives:
            if points[name].lease is not None:
                raise Invalid(f"derives: {name} is a setting of the device")

    def check_functions(self, functions: frozenset[str]) -> None:
        """Raise `Invalid` where the text lacks a function that the package promises, or promises nothing."""
        wanted = {"on_reading": self.listens, "on_command": self.commands, "on_timer": self.timer_s}
        if not any(wanted.values()):
            raise Invalid("a behaviour wakes on readings (listens), commands or a timer (timerS): name one")
        for function, asked in wanted.items():
            if asked and function not in functions:
                raise Invalid(f"text: the function {function} is missing")

    @property
    def order(self) -> tuple[int, ...]:
        """The version as numbers: what it is compared by."""
        return tuple(int(part) for part in self.version.split("."))


@functools.lru_cache(maxsize=1_000)
def defined(text: str) -> frozenset[str]:
    """Return the names of the functions that a behaviour's Starlark defines, as far as its lines show them."""
    return frozenset(_DEFINITION.findall(text))


def digest_of(text: str) -> str:
    """Return what is signed of a package: ``sha256-`` and the hash of its JSON text, in hexadecimal."""
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()}"


def decode_behaviour(text: str) -> Behaviour:
    """Return the package in ``text`` (JSON), checked by itself; raise `Invalid`."""
    try:
        behaviour = msgspec.json.decode(text, type=Behaviour)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(f"package: {error}") from error
    behaviour.check()
    return behaviour


class Package(msgspec.Struct, frozen=True, rename="camel"):
    """A published behaviour: its ``text`` as it was signed by key ``kid`` of ``publisher``."""

    organisation: str
    text: str
    digest: str
    signature: str
    publisher: str
    kid: str
    jwk: dict[str, str]
    published_us: int


class SignedDigest(msgspec.Struct, frozen=True):
    """What a publisher signs: ``sha256-`` and the hash of the package's text, in hexadecimal."""

    digest: str


class Wanted(msgspec.Struct, frozen=True):
    """A set-point that a behaviour wants: ``value`` [the point's unit] for ``duration_s`` [s]."""

    value: float
    duration_s: float


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a call came to. ``state`` None leaves it as it was; ``wake_in_s`` [s] None asks for no timer."""

    state: dict[str, Any] | None = None
    derived: Mapping[str, float] = {}
    set: Mapping[str, Wanted] = {}
    alarms: Mapping[str, bool] = {}
    wake_in_s: float | None = None


_NOTHING = Answer()


def read_answer(behaviour: Behaviour, value: Any) -> Answer:
    """Return what a function's answer means; raise `Invalid` where it is malformed or beyond the package's rights."""
    if value is None:
        return _NOTHING
    try:
        answer = msgspec.convert(value, Answer)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Invalid(f"the answer is malformed: {error}") from error
    for field, names, allowed in (
        ("derived", answer.derived, behaviour.derives),
        ("set", answer.set, behaviour.sets),
        ("alarms", answer.alarms, behaviour.listens + behaviour.derives if behaviour.alarms else ()),
    ):
        beyond = sorted(set(names) - set(allowed))
        if beyond:
            raise Invalid(f"{field}: {beyond[0][:64]!r} is not among what the package may")
    for wanted in answer.set.values():
        if not (math.isfinite(wanted.value) and 0 < wanted.duration_s <= MAX_WAIT_S):
            raise Invalid(f"set: a finite value, for 0 to {MAX_WAIT_S:g} s")
    if answer.wake_in_s is not None and not 0 < answer.wake_in_s <= MAX_WAIT_S:
        raise Invalid(f"wake_in_s: 0 to {MAX_WAIT_S:g} s")
    if answer.state is not None and len(msgspec.msgpack.encode(answer.state)) > MAX_STATE_BYTES:
        raise Invalid(f"state: at most {MAX_STATE_BYTES} bytes")
    return answer
