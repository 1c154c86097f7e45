"""An operator of charge points to judge this adapter by: a registered partner of OCPI 2.2.1 with one EVSE, which pushes
how its session and its state are, and takes charging profiles for it.
"""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec

from gridspine.adapters.ocpi.book import Partner, hash_of
from gridspine.adapters.ocpi.credentials import CredentialsRole, Endpoint
from gridspine.adapters.ocpi.emsp_objects import kind_of
from gridspine.adapters.ocpi.token import Token
from gridspine.adapters.ocpi.wire import Party, bad, plain, read, write_envelope, write_time, write_token
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.energy.charging import ChargingPoint
from gridspine.kernel.time import US
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, PushingDevice, Sample, TcpDevice, recorded
from gridspine.things.adapter import Binding, Order

PARTNER, EVSE = "urn:example:operator", "urn:example:their-charger"
_SHOWN, _OURS = "what-the-operator-shows-us-0123456789", "what-we-show-the-operator-0123456789"
_LONG_S = 120.0
_LOCATION = "/locations/NL/CPO/LOC1"
_TOKEN = {"country_code": "DE", "party_id": "MSP", "uid": "RFID1", "type": "RFID", "contract_id": "DE-MSP-1"}
_CONNECTOR = {
    "id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE", "max_voltage": 230,
    "max_amperage": 32,
}  # fmt: skip


class _NoPoints:
    """The charging port of a node without charging points of its own: its partners are there."""

    def points(self, partner: str, things: Sequence[str]) -> list[ChargingPoint | None]:
        return [None for _ in things]


class Operator(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "http"
    ends = (OSError, httpx.HTTPError, ValueError)
    pushes, commands = True, True
    passwords: Sequence[str] = (_SHOWN, _OURS)
    samples = (
        Sample(EVSE, "sessionEnergy", 5_000.0, "Wh"),
        Sample(EVSE, "sessionEnergy", 7_250.0, "Wh"),
        Sample(EVSE, "connectorState", 3.0, ""),
    )

    def __init__(self) -> None:
        super().__init__()
        self._pushing = 0
        self.settings: Mapping[str, Any] = {
            "country_code": "DE", "party_id": "MSP", "name": "Rig", "roles": ["EMSP"], "plain": True,
            "allow": ["127.0.0.0/8"], "http": {"port": 0},
        }  # fmt: skip
        self.secrets: Mapping[str, str] = {}
        self._waiting: list[Sample] = []
        self._at = itertools.count(1)
        self._server = TcpDevice(self._answer)

    @property
    def connections(self) -> int:
        """Connections that are open, either way."""
        return self._server.connections + self._pushing

    def bindings(self) -> Sequence[Binding]:
        """Return the partner, and its EVSE."""
        connection = {"of": PARTNER, "location": "LOC1", "evse": "E1"}
        points = ("connectorState", "sessionEnergy", "currentLimit")
        return (
            Binding(PARTNER, "Operator", "org", "m", {"partner": "operator"}),
            Binding(EVSE, "Their charger", "org", "m", connection, points),
        )

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order on the session's current."""
        return Order(f"c{sequence}", EVSE, "currentLimit", value, until_us, 32.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the requests in frames.json."""
        return recorded("gridspine.adapters.ocpi")

    def decode(self, frame: bytes) -> Any:
        """Return the object that a request carries, by its address."""
        head, _, body = frame.partition(b"\n")
        address = head.decode("ascii", "replace")
        parts = address.split("/")
        if len(parts) < 5 or parts[4] not in _MODULES:
            raise bad("an address such as PUT /ocpi/2.2.1/receiver/sessions/… is needed")
        made = read(plain(body), _kind(parts))
        return {"address": address, "object": msgspec.json.decode(msgspec.json.encode(made))}

    def encode(self, means: Any) -> bytes:
        """Return the request that says this."""
        made = read(means["object"], _kind(means["address"].split("/")))
        return f"{means['address']}\n".encode() + msgspec.json.encode(made)

    async def start(self, node: FakeNode) -> None:
        """Listen for profiles, and be registered: who registers how is tested between nodes."""
        node.given_controls = SimpleNamespace(charging=_NoPoints())
        await self._server.start()
        us = Party("NL", "CPO")
        role = CredentialsRole("CPO", BusinessDetails("Operator"), us.party_id, us.country_code)
        base = f"http://127.0.0.1:{self._server.port}"
        profiles = Endpoint("chargingprofiles", "RECEIVER", f"{base}/chargingprofiles")
        known = Partner(
            PARTNER, "", hash_of(_SHOWN), "", _OURS, f"{base}/versions", "2.2.1", (profiles,), (role,), 1, 0, (us,)
        )  # fmt: skip
        await node.store.put(f"partner/{PARTNER}", msgspec.json.encode(known))

    async def cut(self) -> None:
        """Break every connection, and listen no more."""
        await super().cut()
        await self._server.stop()

    async def restore(self) -> None:
        """Listen, and push again."""
        if self._living is None:
            await self._server.stop()
            await self._server.start()
        await super().restore()

    async def measure(self, sample: Sample) -> None:
        """Push it, now or when the node is there."""
        self._waiting.append(sample)

    async def connected(self, host: str, port: int) -> None:
        """Push what waits, each until it was taken."""
        self._pushing += 1
        try:
            headers = {"authorization": write_token(_SHOWN)}
            base = f"http://{host}:{port}/ocpi/2.2.1/receiver"
            async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_LONG_S, trust_env=False) as http:
                await self._say(http, "PUT", _LOCATION, _location())
                while True:
                    while self._waiting:
                        await self._push(http, self._waiting[0])
                        self.acknowledged += 1
                        del self._waiting[:1]
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._pushing -= 1

    async def _push(self, http: httpx.AsyncClient, sample: Sample) -> None:
        at = write_time(_BEGAN_US + next(self._at) * US)  # each word is newer than the one before
        if sample.name == "connectorState":
            await self._say(http, "PATCH", f"{_LOCATION}/E1", {"status": "CHARGING", "last_updated": at})
            return
        session = {
            "country_code": "NL", "party_id": "CPO", "id": "S1", "start_date_time": write_time(_BEGAN_US),
            "kwh": sample.value / 1000, "cdr_token": _TOKEN, "auth_method": "COMMAND", "location_id": "LOC1",
            "evse_uid": "E1", "connector_id": "1", "currency": "EUR", "status": "ACTIVE", "last_updated": at,
        }  # fmt: skip
        await self._say(http, "PUT", "/sessions/NL/CPO/S1", session)

    async def _say(self, http: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
        answer = await http.request(method, path, json=body)
        if not answer.is_success or answer.json()["status_code"] != 1000:
            await asyncio.sleep(AGAIN_S)
            raise ValueError("it was not taken")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request for a profile, answer it, and post what came of it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        size = next((line for line in head.splitlines() if line.lower().startswith("content-length:")), "x: 0")
        body = await reader.readexactly(int(size.partition(":")[2]))
        if self.silent:
            await asyncio.get_running_loop().create_future()
        method, _, target = head.partition(" ")
        said, where = self._obey(method, httpx.URL(target.partition(" ")[0]), body)
        answer = write_envelope({"result": said, "timeout": 30}, _BEGAN_US)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        if where:
            headers = {"authorization": write_token(_SHOWN)}
            async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
                await http.post(where, json={"result": "ACCEPTED"})

    def _obey(self, method: str, url: httpx.URL, body: bytes) -> tuple[str, str]:
        """Return what is answered, and where the result goes; what limits a session is not told."""
        if method == "GET":
            return "NOT_SUPPORTED", ""
        if method == "DELETE":
            self.written.append(None)
            return "ACCEPTED", url.params["response_url"]
        asked = json.loads(body)
        self.written.append(asked["charging_profile"]["charging_profile_period"][0]["limit"])
        return ("REJECTED", "") if self.refuses else ("ACCEPTED", asked["response_url"])


_BEGAN_US = 1_767_225_600 * US
_MODULES = ("locations", "sessions", "tariffs", "cdrs", "tokens")


def _kind(parts: Sequence[str]) -> Any:
    return Token if parts[4] == "tokens" else kind_of(parts[4], parts[2])


def _location() -> dict[str, Any]:
    """Return the location; of a state UNKNOWN nothing is read."""
    at = write_time(_BEGAN_US)
    evse = {"uid": "E1", "status": "UNKNOWN", "connectors": [_CONNECTOR | {"last_updated": at}], "last_updated": at}
    return {
        "country_code": "NL", "party_id": "CPO", "id": "LOC1", "publish": True, "address": "Mill Lane 12",
        "city": "Northside", "country": "NLD", "coordinates": {"latitude": "52.10", "longitude": "4.35"},
        "time_zone": "Europe/Amsterdam", "last_updated": at, "evses": [evse],
    }  # fmt: skip


def rig() -> Operator:
    """Return a new operator."""
    return Operator()
