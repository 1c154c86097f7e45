"""What can be asked of a partner, by the names of the model ``roaming_partner``: inviting, registering, giving up."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gridspine.adapters.ocpi.desk import Action, Refused
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import read_parties
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import format_rfc3339

SHOWN = 50
T = TypeVar("T")
_AGAIN_S = 0.5
_MODULES = ("locations", "tariffs", "sessions", "cdrs", "tokens")


class Register(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the partner's versions are, the token that it gave, and who it may be."""

    url: str
    token: str
    party: str = ""


class Invite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may register: country and party, several by commas."""

    party: str


class PartnerActions:
    """Carries them out. ``pull`` and ``left`` are called when a partner is to be fetched from, or is gone."""

    def __init__(self, roaming: Roaming) -> None:
        self._roaming = roaming
        self._told: dict[str, float] = {}
        self.table: Mapping[str, Action] = {
            "invite": self._invite, "register": self._register, "renew": self._renew, "unregister": self._unregister,
            "partner": self._partner, "sessions": self._sessions, "records": self._records,
        }  # fmt: skip

    async def run(self) -> None:
        """Tell how registrations stand whenever one changes, whoever changed it; until cancelled."""
        changed = self._roaming.book.changed
        while True:
            await changed.wait()
            changed.clear()
            for thing in list(self._roaming.things.partners):
                await self.tell(thing)
            await self._roaming.clock.sleep(_AGAIN_S)

    async def tell(self, thing: str) -> None:
        """Tell how the registration stands, as a reading, if that is not what was told."""
        partner = self._roaming.book.partner(thing)
        state = 2.0 if partner.registered else 1.0 if partner.invitation else 0.0
        if self._told.get(thing) == state:
            return
        try:
            await self._roaming.readings(thing, [("registration", "", state)], self._roaming.now_us)
        except Overloaded:
            self._roaming.book.changed.set()  # it is told again
        else:
            self._told[thing] = state

    async def _invite(self, thing: str, given: Any) -> Any:
        _check(self._roaming, thing)
        asked = _input("invite", given, Invite)
        made = await self._roaming.registration.invite(thing, read_parties(asked.party))
        await self.tell(thing)
        return made

    async def _register(self, thing: str, given: Any) -> Any:
        _check(self._roaming, thing)
        asked = _input("register", given, Register)
        parties = read_parties(asked.party) if asked.party else ()
        await self._roaming.registration.register(thing, asked.url, asked.token, parties)
        await self.tell(thing)
        return await self._partner(thing, None)

    async def _renew(self, thing: str, given: Any) -> Any:
        _check(self._roaming, thing)
        await self._roaming.registration.renew(thing)
        return await self._partner(thing, None)

    async def _unregister(self, thing: str, given: Any) -> Any:
        _check(self._roaming, thing)
        told = await self._roaming.registration.unregister(thing)
        await self.tell(thing)
        return {"told": told}

    async def _partner(self, thing: str, given: Any) -> Any:
        _check(self._roaming, thing)
        partner = self._roaming.book.partner(thing)
        kept = Counter(
            module for module in _MODULES for _ in self._roaming.book.objects(thing, module)
        )  # fmt: skip
        said = {
            "registered": partner.registered, "url": partner.url, "version": partner.version,
            "since": format_rfc3339(partner.since_us) if partner.since_us else "",
            "parties": [str(one) for one in partner.parties], "problem": partner.problem,
            "roles": [
                {"role": one.role, "party": f"{one.country_code} {one.party_id}", "name": one.business_details.name}
                for one in partner.roles[:SHOWN]
            ],
            "modules": sorted(f"{one.identifier} {one.role}" for one in partner.endpoints),
            "kept": dict(kept),
        }  # fmt: skip
        return {name: value for name, value in said.items() if value not in ("", [], {})}

    async def _sessions(self, thing: str, given: Any) -> Any:
        return {"sessions": self._newest(thing, "sessions"), "ours": self._newest(thing, "own-sessions")}

    async def _records(self, thing: str, given: Any) -> Any:
        return {"records": self._newest(thing, "cdrs"), "ours": self._newest(thing, "own-cdrs")}

    def _newest(self, thing: str, module: str) -> list[Any]:
        _check(self._roaming, thing)
        found = sorted((kept for _, kept in self._roaming.book.objects(thing, module)), key=lambda one: -one.updated_us)
        shown: list[Any] = []
        size = 0
        for one in found[:SHOWN]:
            size += len(msgspec.json.encode(one.body))
            if size > 12_000:
                break
            shown.append(one.body)
        return shown


def _input(action: str, given: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(given or {}, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"the input of {action}: {error}") from error


def _check(roaming: Roaming, thing: str) -> None:
    if not roaming.here(thing):
        roaming.look()  # it may have come a moment ago
    if not roaming.here(thing):
        raise Refused("that is no partner: see its connection")
