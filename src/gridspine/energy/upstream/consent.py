"""What the owner of a Thing lets a server ask for that it follows, and the enrolment that follows from it."""

from typing import Literal

import msgspec

from gridspine.energy.control import MODE_OF
from gridspine.energy.control_port import ControlPort
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import parse_rfc3339

UNTIL_US = parse_rfc3339("2100-01-01T00:00:00Z")
"""When an enrolment ends that nobody withdraws [µs since 1970]."""


class Consent(msgspec.Struct, frozen=True):
    """``site`` or ``thing`` takes part, neither: nothing does; in ``modes`` (targetW, importLimitW …) it obeys.

    ``authority`` is how what is commanded stands beside the owner's own commands.
    """

    site: str = ""
    thing: str = ""
    modes: tuple[str, ...] = ()
    authority: Literal["aggregator", "network"] = "aggregator"

    @property
    def subject(self) -> str:
        """What takes part, "" for nothing."""
        return self.site or self.thing

    @property
    def words(self) -> str:
        """What an enrolment rests on: other words are another consent."""
        return "|".join((self.subject, self.authority, *sorted(self.modes)))

    def check(self) -> None:
        """Raise `Invalid` naming what is wrong."""
        if self.site and self.thing:
            raise Invalid("site, thing: one of them takes part")
        if unknown := [mode for mode in self.modes if mode not in MODE_OF]:
            raise Invalid(f"modes: {unknown[0][:40]!r} is none")

    def enrolment(self, programme: str, from_us: int, until_us: int = UNTIL_US) -> ProgrammeEnrolment:
        """Return the enrolment to ask for in ``[from_us, until_us)`` [µs since 1970]."""
        return ProgrammeEnrolment(
            id="", programme=programme, owner="", organisation="", subject=self.subject, modes=self.modes,
            kind="site" if self.site else "thing", from_us=from_us, until_us=until_us, authority=self.authority,
        )  # fmt: skip


async def enrolled(port: ControlPort, known: KnownProgramme, consent: Consent, now_us: int) -> KnownProgramme:
    """Let the subject take part as its owner consents; what was withdrawn since stays so until the consent changes.

    Returns what is to be noted. Raises what `ControlPort.enrolments` does.
    """
    if known.consent == consent.words:
        return known
    if _is_active(port, known):
        await port.enrolments.decide(known.noun, known.enrolment, "withdraw", "its connection was changed")
    if not consent.subject:
        return msgspec.structs.replace(known, enrolment="", consent=consent.words)
    made = await port.enrolments.ask(consent.enrolment(known.noun, now_us))
    return msgspec.structs.replace(known, enrolment=made.id, consent=consent.words)


def _is_active(port: ControlPort, known: KnownProgramme) -> bool:
    try:
        return bool(known.enrolment) and port.enrolments.get(known.noun, known.enrolment).state == "active"
    except NotFound:  # it ended, and was let go since
        return False
