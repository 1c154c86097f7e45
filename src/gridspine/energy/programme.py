"""Programmes: what an organisation offers to others, or runs for itself, to let their energy follow the grid.

Source: *program* of OpenADR 3.1.0 (its OpenAPI document); ``primacy`` and the default control are those of DERProgram
in IEEE 2030.5-2018, whose clauses were not read. What each language keeps of it: docs/adr/0013.
"""

import msgspec

from gridspine.energy.control import MODE_OF, NOTHING, Control
from gridspine.kernel.errors import Invalid

MAX_TITLE, MAX_WORD, MAX_URL = 128, 128, 8_000
MAX_DESCRIPTORS, MAX_TARGETS = 50, 100
MAX_PRIMACY = 255


class SignalDescriptor(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a signal means: its type (PRICE, GHG, SIMPLE …; eventPayloadDescriptor), unit, and currency (ISO 4217)."""

    payload_type: str
    units: str = ""
    currency: str = ""


class ReportDescriptor(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a programme asks to be told of: readings of the property ``point`` of each Thing, every ``interval_s`` [s].

    ``payload_type`` says what they are to the programme (USAGE, DEMAND …; reportDescriptor). A value stands for the
    interval that begins at its time: the mean of a power, the first reading of a register.
    """

    payload_type: str
    point: str
    interval_s: int = 900


class Programme(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A programme of ``organisation``.

    ``primacy`` (0 to 255): the lower wins where programmes meet. ``modes`` are what its events may command, by the
    names of `Control`; who enrols consents to them. ``default_control`` holds for the enrolled while no event does.
    ``open``: other organisations see it and may ask to enrol. ``interval_s`` [s] is how long an interval lasts that
    says no end, 0 when each says its own. ``targets`` are the words by which its events may be aimed.
    """

    id: str
    organisation: str
    title: str
    primacy: int = 100
    description_url: str = ""
    interval_s: int = 0
    signals: tuple[SignalDescriptor, ...] = ()
    modes: tuple[str, ...] = ()
    default_control: Control = NOTHING
    reports: tuple[ReportDescriptor, ...] = ()
    targets: tuple[str, ...] = ()
    open: bool = False
    retired_us: int = 0
    created_us: int = 0
    by: str = ""
    changed_by: str = ""
    changers: tuple[str, ...] = ()
    version: int = 1

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= MAX_TITLE:
            raise Invalid(f"title: 1 to {MAX_TITLE} characters are needed")
        if not 0 <= self.primacy <= MAX_PRIMACY:
            raise Invalid(f"primacy: 0 to {MAX_PRIMACY}, the lower wins")
        if not 0 <= self.interval_s <= 366 * 86_400:
            raise Invalid("intervalS: 0 s to a year")
        if self.description_url and not self.description_url.startswith(("https://", "http://")):
            raise Invalid("descriptionUrl: an http or https address is needed")
        if len(self.description_url) > MAX_URL:
            raise Invalid(f"descriptionUrl: at most {MAX_URL} characters")
        self._check_modes()
        self._check_descriptors()
        check_words(self.targets, "targets")

    def _check_modes(self) -> None:
        if unknown := [mode for mode in self.modes if mode not in MODE_OF]:
            raise Invalid(f"modes: {unknown[0][:40]!r} is none of {', '.join(MODE_OF)}")
        check_words(self.modes, "modes")
        self.default_control.check("defaultControl")
        if self.default_control.target_w is not None:
            raise Invalid("defaultControl.targetW: a default limits; a target takes an event, which ends")
        if outside := set(self.default_control.modes) - {MODE_OF[mode] for mode in self.modes}:
            raise Invalid(f"defaultControl: {sorted(outside)[0]} is not among modes")

    def _check_descriptors(self) -> None:
        for name, given in (("signals", self.signals), ("reports", self.reports)):
            if len(given) > MAX_DESCRIPTORS:
                raise Invalid(f"{name}: at most {MAX_DESCRIPTORS}")
            check_words(tuple(one.payload_type for one in given), f"{name}.payloadType", distinct=name == "signals")
        for one in self.signals:
            if len(one.units) > MAX_WORD or len(one.currency) > 3:
                raise Invalid("signals: units has at most 128 characters, currency three letters")
        for report in self.reports:
            if not 1 <= report.interval_s <= 86_400:
                raise Invalid("reports.intervalS: 1 s to a day")
            check_words((report.point,), "reports.point")

    @property
    def principal(self) -> str:
        """In whose name its controls reach Things."""
        return f"programme:{self.id}"

    @property
    def lease_priority(self) -> int:
        """The priority of its leases: the lower the primacy, the higher."""
        return MAX_PRIMACY - self.primacy


def check_words(words: tuple[str, ...], where: str, *, distinct: bool = True) -> None:
    """Raise `Invalid` for a word that is empty or too long, for too many, or (``distinct``) for one given twice."""
    if len(words) > MAX_TARGETS:
        raise Invalid(f"{where}: at most {MAX_TARGETS}")
    if any(not 0 < len(word) <= MAX_WORD for word in words):
        raise Invalid(f"{where}: 1 to {MAX_WORD} characters are needed")
    if distinct and len(set(words)) < len(words):
        raise Invalid(f"{where}: one is given twice")
