"""Tokens of our drivers, as the settings have them: fetched, pushed, and asked for when one is shown somewhere.

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tokens module", sender interface.
"""

from urllib.parse import quote

from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.settings import OwnToken
from gridspine.adapters.ocpi.token import AuthorizationInfo, LocationReferences, Token
from gridspine.adapters.ocpi.wire import OcpiError, nothing_here, path_of, plain, read, write_time
from gridspine.infra.runtime.clock import new_id


class EmspTokens:
    """Our tokens."""

    def __init__(self, roaming: Roaming, pushes: Pushes) -> None:
        self._roaming, self._pushes = roaming, pushes
        self._by_uid = {one.uid.casefold(): one for one in roaming.settings.tokens}
        self._since_us = 0
        self._told: dict[str, int] = {}
        self.handlers = {"GET": self._get, "POST": self._post}

    async def load(self) -> None:
        """Learn since when the settings say what they say."""
        self._since_us = await self._roaming.since("tokens", self._roaming.settings.tokens)

    def first(self) -> Token | None:
        """Return the first of our tokens that may charge."""
        return next((self.token(one) for one in self._roaming.settings.tokens if one.valid), None)

    def find(self, uid: str) -> Token | None:
        """Return a token of ours."""
        one = self._by_uid.get(uid.casefold())
        return None if one is None else self.token(one)

    def token(self, one: OwnToken) -> Token:
        """Return a token as partners know it."""
        us = self._roaming.settings.party
        return Token(
            us.country_code, us.party_id, one.uid, one.type, one.contract_id, self._roaming.settings.name, one.valid,
            one.whitelist, write_time(self._since_us), one.visual_number or None, one.group_id or None,
        )  # fmt: skip

    def tell(self) -> None:
        """Push all to operators that have just registered, or since a start."""
        us = self._roaming.settings.party
        for partner in self._roaming.partners("CPO"):
            if self._told.get(partner.thing) == partner.since_us:
                continue
            self._told[partner.thing] = partner.since_us
            for one in self._roaming.settings.tokens:
                path = f"{path_of(us.country_code, us.party_id, one.uid)}?type={quote(one.type)}"
                self._pushes.offer(
                    partner, f"token/{one.uid}", Push("PUT", "tokens", "RECEIVER", path, self.token(one))
                )

    async def _get(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        return call.listed([(self._since_us, self.token(one)) for one in self._roaming.settings.tokens])

    async def _post(self, call: Call) -> Reply:
        """Answer ``POST /tokens/{uid}/authorize``."""
        if len(call.rest) != 2 or call.rest[1] != "authorize":
            raise nothing_here()
        token = self.find(call.rest[0])
        if token is None or token.type != call.query.get("type", "RFID"):
            raise OcpiError(2004, "that token is not known")
        where = read(plain(call.body), LocationReferences) if call.body.strip() else None
        if not token.valid:
            return Reply(AuthorizationInfo("BLOCKED", token, where))
        return Reply(AuthorizationInfo("ALLOWED", token, where, new_id(self._roaming.clock)[:36]))
