"""A VEN to judge this adapter by: OpenADR 3.1.0 over HTTP, with a token of its own client credentials.

It reports what it measures upon the one event there is, until the VTN took it. What the node stands for behind the
adapter is one programme with that event, to know and not to do: what programmes are told is judged beside a whole node.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from gridspine.adapters.openadr3.edition import newer
from gridspine.adapters.openadr3.period import spans
from gridspine.adapters.openadr3.reported import told_of
from gridspine.adapters.openadr3.vtn import wire_id
from gridspine.adapters.openadr3.wire import (
    BlVenRequest,
    EventRequest,
    ProgramRequest,
    ReportRequest,
    SubscriptionRequest,
    VenVenRequest,
    read,
)
from gridspine.energy.control_port import Change
from gridspine.energy.programme import Programme, SignalDescriptor
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Forbidden, Invalid, NotFound
from gridspine.kernel.time import US, format_rfc3339
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, PushingDevice, Sample, recorded
from gridspine.things.adapter import Binding, Order, Source

THING, DEVICE, RESOURCE = "urn:example:heat-pump", "urn:example:ven", "heat-pump-1"
_PASSWORD = "open-sesame-310"  # noqa: S105 - of a VEN that lives for a check
_POINTS = ("activePower", "stateOfCharge")
_PAYLOADS = {"activePower": ("DEMAND", "KW", 1e3), "stateOfCharge": ("STORAGE_CHARGE_LEVEL", "PERCENT", 100.0)}
_PROGRAMME = Programme(
    id="urn:uuid:018f0000-0000-7000-8000-000000000001", organisation="org", title="Prices", open=True,
    signals=(SignalDescriptor("PRICE", "KWH", "EUR"),),
)  # fmt: skip
_PRICES = (EventInterval(0, 4_000_000_000 * US, (Signal("PRICE", (-0.05,)),)),)
_EVENT = ProgrammeEvent(
    id="urn:uuid:018f0000-0000-7000-8000-000000000002", programme=_PROGRAMME.id, organisation="org", title="Today",
    intervals=_PRICES,
)  # fmt: skip
_MAY = frozenset({"programme.read", "programme.enrol", "programme.opt", "programme.report"})
_KINDS: dict[str, Any] = {
    "program": ProgramRequest, "event": EventRequest, "report": ReportRequest, "subscription": SubscriptionRequest,
    "ven": BlVenRequest | VenVenRequest,
}  # fmt: skip
_OLDER = "3.0.1 "
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody and is never asked: else each client would read the machine's authorities."""
_FAILURES = (OSError, EOFError, httpx.HTTPError, Invalid)


class OneProgramme:
    """Stands for the node's programmes, in whoever's name (`gridspine.energy.control_port`): one, with one event.

    Who asks is a VEN: it may read, and report.
    """

    revision = 0

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def programmes(self) -> "OneProgramme":
        """The programmes."""
        return self

    def of(self, source: Source) -> "OneProgramme":
        """Return the port in the name of ``source``."""
        return OneProgramme(source)

    def may(self, action: str) -> bool:
        """Whether a VEN may do that."""
        return action in _MAY

    def check(self, action: str) -> None:
        """Raise `Forbidden` where it may not."""
        if not self.may(action):
            raise Forbidden(f"a VEN has no leave for {action}")

    def all(self) -> Sequence[Programme]:
        """Return the one."""
        return (_PROGRAMME,)

    def get(self, id: str) -> Programme:
        """Return it; raise `NotFound` for another."""
        if id != _PROGRAMME.id:
            raise NotFound("there is no such programme")
        return _PROGRAMME

    def events(self, programme: str) -> Sequence[ProgrammeEvent]:
        """Return its event."""
        return (_EVENT,) if programme == _PROGRAMME.id else ()

    def find_event(self, id: str) -> ProgrammeEvent:
        """Return the event; raise `NotFound` for another."""
        if id != _EVENT.id:
            raise NotFound("there is no such event")
        return _EVENT

    async def changes(self) -> AsyncIterator[Change]:
        """Wait for what never comes."""
        await asyncio.get_running_loop().create_future()
        yield  # type: ignore[misc] # an iterator, of nothing


class ReportingVen(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "http"
    ends = _FAILURES
    pushes, commands = True, False
    passwords: Sequence[str] = (_PASSWORD,)
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "stateOfCharge", 62.5, "%"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0
        self.settings: Mapping[str, Any] = {}
        self.secrets: Mapping[str, str] = {}
        self._waiting: list[Sample] = []
        self._measured = 0

    def bindings(self) -> Sequence[Binding]:
        """Return the Thing that the VEN reports of."""
        return (Binding(THING, "Heat pump", "org", "m", {"resource": RESOURCE}, _POINTS),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order, which no VEN is told."""
        return Order(f"c{sequence}", THING, "activePower", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the requests in frames.json: a word for what it is, and its body."""
        return recorded("gridspine.adapters.openadr3")

    def decode(self, frame: bytes) -> Any:
        """Return a request in the form of 3.1.0; of an event also when its intervals are, of a report its values."""
        head, _, body = frame.partition(b"\n")
        noun = head.decode("latin-1")
        kind = _KINDS.get(noun.removeprefix(_OLDER))
        if kind is None:
            raise Invalid(f"{noun[:40]!r}: one of {', '.join(_KINDS)} is needed")
        given: Any = newer(read(body, dict[str, Any]), {}) if noun.startswith(_OLDER) else body
        request = read(given, kind)
        means: dict[str, Any] = {noun: msgspec.to_builtins(request)}
        if isinstance(request, EventRequest):
            means["spans"] = [[one.from_us, one.until_us] for one in spans(request, 0, 0)]
        if isinstance(request, ReportRequest):
            units = {one.payload_type: one.units or "" for one in request.payload_descriptors or ()}
            of = [EventRequest(program_id="-", interval_period=one.interval_period, intervals=one.intervals)
                  for one in request.resources]  # fmt: skip
            means["told"] = [list(one) for event in of for one in told_of(event, units, VirtualClock(0))]
        return means

    def encode(self, means: Any) -> bytes:
        """Return the request that says this."""
        noun = next(iter(means))
        return f"{noun}\n".encode() + msgspec.json.encode(msgspec.convert(means[noun], _KINDS[noun]))

    async def start(self, node: FakeNode) -> None:
        """Let the VEN get tokens, and let there be a programme."""
        node.given_controls = OneProgramme(Source(DEVICE, "org", ""))
        node.add_user(DEVICE, _PASSWORD, THING)

    async def measure(self, sample: Sample) -> None:
        """Report it, now or when the connection stands again."""
        self._waiting.append(sample)

    async def connected(self, host: str, port: int) -> None:
        """Get a token and report, until something goes wrong: then it begins anew."""
        base = f"http://{host}:{port}/openadr3/3.1.0"
        async with httpx.AsyncClient(base_url=base, trust_env=False, verify=_NO_TLS) as http:
            self.connections += 1
            try:
                form = {"grant_type": "client_credentials", "client_id": DEVICE, "client_secret": _PASSWORD}
                token = _answered(await http.post("/auth/token", data=form))["access_token"]
                http.headers["authorization"] = f"Bearer {token}"
                while True:
                    if not self.silent:
                        await self._report(http)
                    await asyncio.sleep(AGAIN_S)
            finally:
                self.connections -= 1

    async def _report(self, http: httpx.AsyncClient) -> None:
        while self._waiting:
            (event,) = _answered(await http.get("/events", params={"programID": wire_id(_PROGRAMME.id)}))
            _answered(await http.post("/reports", json=self._body(self._waiting[0], event["id"])))
            del self._waiting[:1]
            self.acknowledged += 1

    def _body(self, sample: Sample, event: str) -> dict[str, Any]:
        assert self.node is not None, "it reports once it has joined"
        self._measured += 1  # else it would say something else of the same moment
        at = format_rfc3339(self.node.clock.now_us() // US * US - US + self._measured)
        name, units, factor = _PAYLOADS[sample.name]
        payload = {"type": name, "values": [sample.value / factor]}
        interval = {"id": 0, "intervalPeriod": {"start": at, "duration": "PT1S"}, "payloads": [payload]}
        described = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": name, "units": units}
        return {
            "eventID": event, "clientName": "rig", "payloadDescriptors": [described],
            "resources": [{"resourceName": RESOURCE, "intervals": [interval]}],
        }  # fmt: skip


def _answered(answer: httpx.Response) -> Any:
    """Return what was answered; raise `Invalid` for what is no yes."""
    if not answer.is_success:
        raise Invalid(f"the VTN answers {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def rig() -> ReportingVen:
    """Return a new VEN."""
    return ReportingVen()
