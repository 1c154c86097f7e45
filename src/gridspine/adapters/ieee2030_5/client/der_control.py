"""DERPrograms and DERControls as a server says them, in the node's words. Pure; no I/O.

::

    opModImpLimW, opModExpLimW, opModGenLimW, opModLoadLimW   limits, magnitudes
    opModMaxLimW [% of the rating]                            a limit of generation
    opModTargetW, opModFixedW [% of the rating]               a target, turned: output is positive there
    opModConnect, opModEnergize, rampTms, setGradW            handed on
    all else                                                  is not done here

    randomizeStart -60      begins and ends up to 60 s sooner        randomizeDuration -60    lasts up to 60 s less
    randomizeStart  60      begins and ends up to 60 s later         randomizeDuration  60    lasts up to 60 s longer

Source: IEEE 2030.5-2018 ``sep.xsd``: DERControl, DERControlBase, RandomizableEvent, EventStatus, ResponseStatus by
the numbers that its open implementations use; C.22, examples of randomization. Other clauses were not read.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gridspine.adapters.ieee2030_5.der_document import TIME_MAX
from gridspine.adapters.ieee2030_5.power import read_power
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.energy.control import LIMITS, MAX_W, NOTHING, Control, Mode, made_of
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, US

SCHEDULED, ACTIVE, CANCELLED, CANCELLED_AT_RANDOM, SUPERSEDED = range(5)
NOT_APPLICABLE, INVALID, EXPIRED = 252, 253, 254
_LIMITS: dict[str, Mode] = {
    "csipaus:opModImpLimW": "import_limit_w", "csipaus:opModExpLimW": "export_limit_w",
    "csipaus:opModGenLimW": "generation_limit_w", "csipaus:opModLoadLimW": "load_limit_w",
}  # fmt: skip
_OF_RATING = {"opModMaxLimW": 10_000, "opModFixedW": 10_000}
_FLAGS: dict[str, Mode] = {"opModConnect": "connect", "opModEnergize": "energise"}
_RANDOM_MAX_S = 3_600
MAX_DURATION_S = 2**32 - 1


class SeenControl(NamedTuple):
    """A DERControl as its server says it.

    ``from_us`` and ``until_us`` [µs since 1970, by the server's clock] are the earliest moment it may begin and the
    latest it may end; ``randomise_start_s`` [s] by how much chance moves it as a whole, ``randomise_duration_s`` [s] by
    how much it lets it end sooner. ``problem``
    is the status to answer with where it cannot be followed, 0 where it can. ``required`` is responseRequired.
    """

    mrid: str
    title: str
    created_s: int
    status: int
    from_us: int
    until_us: int
    randomise_start_s: float
    randomise_duration_s: float
    control: Control
    reply_to: str = ""
    required: int = 0
    problem: int = 0

    @property
    def cancelled(self) -> bool:
        """Whether its server has cancelled it."""
        return self.status in {CANCELLED, CANCELLED_AT_RANDOM}


class SeenProgram(NamedTuple):
    """A DERProgram as its server says it; ``controls`` those that it lists and that can be read.

    ``unread`` are the mRIDs of those that it lists and that cannot be read, "" for each that has none.
    """

    mrid: str
    title: str
    primacy: int
    default: Control
    controls: tuple[SeenControl, ...] = ()
    unread: tuple[str, ...] = ()

    def may_list(self, mrids: Iterable[str]) -> set[str]:
        """Return those of ``mrids`` that are listed, or may be: one that cannot be read is not known to be gone."""
        there = {*self.unread, *(one.mrid for one in self.controls)}
        return set(mrids) if "" in there else there.intersection(mrids)


def read_program(given: Element, default: Element | None, controls: list[Element], rated_w: float) -> SeenProgram:
    """Return what a server says of a program; ``rated_w`` [W] is what percentages are of, 0 for not known.

    Raises `Invalid` where it has no mRID or no primacy. A control without an mRID, or with times that are none, is left
    out: nobody could answer it. It is counted, as what was known of it stands.
    """
    mrid, primacy = given.hex("mRID", 32), given.whole("primacy", 0, 255)
    if mrid is None or primacy is None:
        raise Invalid("DERProgram: mRID and primacy are needed")
    found, unread = [], []
    for one in controls:
        try:
            found.append(read_control(one, rated_w))
        except Invalid:
            unread.append(_mrid(one))
    held = NOTHING if default is None else _default(default, rated_w)
    return SeenProgram(mrid, _words(given), primacy, held, tuple(found), tuple(unread))


def with_last_good(seen: SeenProgram, before: SeenProgram | None) -> SeenProgram:
    """Return a program with what was known ``before`` of those of its controls that cannot be read now."""
    if before is None or not seen.unread:
        return seen
    listed = {one.mrid for one in seen.controls}
    kept_mrids = seen.may_list(one.mrid for one in before.controls) - listed
    kept = (one for one in before.controls if one.mrid in kept_mrids)
    return seen._replace(controls=(*seen.controls, *kept))


def read_control(given: Element, rated_w: float) -> SeenControl:
    """Return what a server says of a control; raise `Invalid` where it has no mRID, or no time."""
    mrid = given.hex("mRID", 32)
    interval = given.find("interval")
    start_s = None if interval is None else interval.whole("start", 0, TIME_MAX)
    lasts_s = None if interval is None else interval.whole("duration", 0, MAX_DURATION_S)
    if mrid is None or start_s is None or lasts_s is None:
        raise Invalid("DERControl: mRID and interval are needed")
    status = given.find("EventStatus")
    current = SCHEDULED if status is None else status.whole("currentStatus", 0, 255) or SCHEDULED
    start = given.whole("randomizeStart", -_RANDOM_MAX_S, _RANDOM_MAX_S) or 0
    duration = given.whole("randomizeDuration", -_RANDOM_MAX_S, _RANDOM_MAX_S) or 0
    control, problem = _base(given.find("DERControlBase"), rated_w)
    begin_s, end_s = start_s + min(start, 0), start_s + max(start, 0) + lasts_s + max(duration, 0)
    if not problem and abs(start) + abs(duration) >= end_s - begin_s:
        problem = INVALID
    return SeenControl(
        mrid, _words(given), given.whole("creationTime", 0, TIME_MAX) or 0, current,
        begin_s * US, min(end_s * US, MAX_US), float(abs(start)), float(abs(duration)),
        NOTHING if problem else control,
        given.attributes.get("replyTo", ""), _required(given), problem,
    )  # fmt: skip


def _default(given: Element, rated_w: float) -> Control:
    """Return what holds while no control does; what of it cannot be done, or is none, is left out."""
    control = _modes(given.find("DERControlBase"), rated_w)
    try:
        gradient = given.whole("setGradW", 0, 65_535)
    except Invalid:
        gradient = None
    kept = control.only(mode for mode in control.modes if mode != "target_w")
    return kept if gradient is None else made_of({"gradient_percent_per_s": gradient / 100}).over(kept)


def _base(given: Element | None, rated_w: float) -> tuple[Control, int]:
    """Return what is asked for, and the status to answer with where that cannot be followed."""
    if given is None:
        return NOTHING, INVALID
    values: dict[Mode, float | bool] = {}
    try:
        for one in given.children:
            values |= _mode(one, given, rated_w)
        control = made_of(values)
        control.check("DERControlBase")
    except Invalid:
        return NOTHING, INVALID
    doing = set(control.modes) - {"ramp_s"}
    return control, 0 if doing else NOT_APPLICABLE


def _modes(given: Element | None, rated_w: float) -> Control:
    """Return what is asked for by each mode that is one; those that are none take nothing from the others."""
    values: dict[Mode, float | bool] = {}
    if given is None:
        return NOTHING
    for one in given.children:
        try:
            read = _mode(one, given, rated_w)
            made_of(read).check("DERControlBase")
        except Invalid:
            continue
        values |= read
    return made_of(values) if values.keys() - {"ramp_s"} else NOTHING


def _mode(one: Element, base: Element, rated_w: float) -> dict[Mode, float | bool]:
    if one.name in _LIMITS:
        value_w = read_power(one)
        # A limit beyond all that there is limits nothing: servers say so by the largest number they can write.
        return {_LIMITS[one.name]: min(value_w, MAX_W)}
    if one.name == "opModTargetW":
        return {"target_w": -read_power(one)}
    if one.name in _FLAGS:
        if one.text.strip() not in {"true", "false", "1", "0"}:
            raise Invalid(f"{one.name}: true or false is needed")
        return {_FLAGS[one.name]: one.text.strip() in {"true", "1"}}
    if one.name == "rampTms":
        return {"ramp_s": (base.whole("rampTms", 0, 65_535) or 0) / 100}
    if one.name in _OF_RATING and rated_w > 0:
        low = 0 if one.name == "opModMaxLimW" else -10_000
        share = (base.whole(one.name, low, 10_000) or 0) / 10_000
        return {"generation_limit_w": share * rated_w} if low == 0 else {"target_w": -share * rated_w}
    return {}


def _mrid(given: Element) -> str:
    try:
        return given.hex("mRID", 32) or ""
    except Invalid:
        return ""


def limits_of(control: Control) -> dict[Mode, float]:
    """Return the limits of a control [W], those that limit anything."""
    return {mode: value for mode, value in control.asked() if mode in LIMITS and value < MAX_W}


def _required(given: Element) -> int:
    text = given.attributes.get("responseRequired", "00")
    try:
        return int(text, 16) & 0xFF
    except ValueError:
        return 0


def _words(given: Element) -> str:
    return (given.said("description") or "").strip()[:32]
