"""Who may come in: the address a charge point opens, and what it proves itself by.

::

    ws://node/ocpp/CP001       Authorization: Basic base64("CP001:" password)   security profile 1 (loopback), 2 (TLS)
    wss://node/ocpp/CP001      client certificate of the node's authority       security profile 3
    wss://node/ocpp/acme/CP001 the same, of the organisation acme

The name in the address is a claim: what counts is the principal that was proven, and what Things it may speak for. A
name is its organisation's own. Where several have one of that name, the credentials tell whose it is: the certificate,
or whose password it is; with more than `MAX_NAMESAKES` the address must say it.

Source: OCPP-J 1.6 §3.1.1 (address, 404), OCPP 2.0.1 Part 2, use case A00 (security profiles), whose user name is the
charge point's identity; it may hold colons, which is why a user name is not looked for but compared (RFC 7617 §2).
"""

import base64
import binascii
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request

from gridspine.adapters.ocpp.settings import Settings
from gridspine.adapters.ocpp.station import IDENTITY, Station, Stations
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Source

WRONG_PASSWORD_S = 1.0
MAX_AWAY = 100_000
MAX_NAMESAKES = 8
"""Charge points of one name, each of another organisation, whose passwords are tried."""


class Rejected(Exception):
    """The request is refused with an HTTP ``status``; ``reason`` is for the log."""

    def __init__(self, status: HTTPStatus, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class Admission:
    """Lets charge points in, or not."""

    def __init__(self, context: AdapterContext, settings: Settings) -> None:
        self._context = context
        self._settings = settings
        self._away_until_us: dict[str, int] = {}

    def hold_off(self, key: str, wait_s: float) -> None:
        """Turn a charge point away for ``wait_s`` [s]: it is to come again, but not at once."""
        if len(self._away_until_us) >= MAX_AWAY:
            self._away_until_us.clear()
        self._away_until_us[key] = self._context.clock.monotonic_us() + round(wait_s * US)

    async def admit(
        self, request: Request, certificate_der: bytes | None, stations: Stations
    ) -> tuple[Station, Source]:
        """Return the charge point that asks, and who it was proven to be; raise `Rejected`."""
        organisation, identity = self._claimed(request)
        named = stations.named(identity, organisation)
        source, station = await self._proven(request, identity, named, certificate_der)
        if source is None:
            await self._context.clock.sleep(WRONG_PASSWORD_S)
            raise Rejected(
                HTTPStatus.UNAUTHORIZED, f"not authenticated: {identity!r}",
                {"WWW-Authenticate": 'Basic realm="gridspine", charset="UTF-8"'},
            )  # fmt: skip
        if (
            station is None
            and source.principal == self._settings.newcomers
            and organisation in {"", source.organisation}
        ):
            return Station(identity, source.principal, source.organisation), source
        things = [] if station is None else stations.things(station)
        if station is None or not any(self._context.may_publish(source, thing) for thing in things):
            raise Rejected(HTTPStatus.NOT_FOUND, f"no Thing of {source.principal} is bound to {identity!r}")
        until_us = self._away_until_us.get(station.key, 0)
        left_us = until_us - self._context.clock.monotonic_us()
        if left_us > 0:
            wait_s = -(-left_us // US)
            raise Rejected(HTTPStatus.SERVICE_UNAVAILABLE, f"{identity!r} is early", {"Retry-After": str(wait_s)})
        self._away_until_us.pop(station.key, None)
        return station, source

    def _claimed(self, request: Request) -> tuple[str, str]:
        """Return the organisation ("" for none said) and the name in the address."""
        path = urlsplit(request.path).path
        if not path.startswith(self._settings.path):
            raise Rejected(HTTPStatus.NOT_FOUND, f"not beneath {self._settings.path}")
        organisation, _, name = path.removeprefix(self._settings.path).rpartition("/")
        identity = unquote(name)
        if not IDENTITY.fullmatch(identity):
            raise Rejected(HTTPStatus.NOT_FOUND, f"no name of a charge point: {identity[:60]!r}")
        return unquote(organisation), identity

    async def _proven(
        self, request: Request, identity: str, named: list[Station], certificate_der: bytes | None
    ) -> tuple[Source | None, Station | None]:
        """Return who was proven, and which of the charge points of that name it is."""
        if certificate_der is not None:
            source = await self._context.authorise("", "", certificate_der)
            own = [one for one in named if source is not None and one.organisation == source.organisation]
            return source, own[0] if own else None
        password = _password(request, identity)
        if password is None or len(named) > MAX_NAMESAKES:
            return None, None
        for station in named:
            source = await self._context.authorise(station.device, password)
            if source is not None and source.organisation == station.organisation:
                return source, station
        if not named:  # asked also for one that nobody knows: how long it takes does not tell
            return await self._context.authorise(self._settings.newcomers or identity, password), None
        return None, None


def _password(request: Request, identity: str) -> str | None:
    """Return the password of Basic authentication, None where the user is not ``identity``."""
    try:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        said = base64.b64decode(encoded.strip(), validate=True).decode()
    except (MultipleValuesError, binascii.Error, UnicodeDecodeError, ValueError):
        return None
    prefix = f"{identity}:"
    if scheme.lower() != "basic" or not said.startswith(prefix):
        return None
    return said.removeprefix(prefix)
