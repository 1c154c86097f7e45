"""A VEN to judge this adapter by: OpenADR 2.0b by simple HTTP over mutual TLS, by the half of it that clients have.

It registers once, offers what it measures, and reports it until the VTN took it; where the VTN knows it no more, it
begins anew. The node takes part in no programme meanwhile: what VENs are told of those is judged beside a whole node.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.book import Asked, Column
from gridspine.adapters.openadr2.client.call import Remote, tls_of
from gridspine.adapters.openadr2.problem import INVALID_ID, NOT_REGISTERED
from gridspine.adapters.openadr2.report import rows_of
from gridspine.adapters.openadr2.settings import LISTENER, Access
from gridspine.adapters.openadr2.wire import MESSAGES, NAMES, read, write
from gridspine.energy.control_port import Change
from gridspine.energy.followed import Followed
from gridspine.kernel.errors import GridspineError, Unavailable
from gridspine.kernel.time import US
from gridspine.testing.certificates import CertifiedDevice
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, Sample, recorded
from gridspine.things.adapter import Binding, Order, Source, WireTrace

THING, DEVICE, VEN = "urn:example:ven", "urn:example:ven-device", "ven-17"
_SPECIFIER, _MARKED = "spec", 1_770_000_000 * US
_POINTS = ("activePower", "activeEnergyImport")
_POWER, _ENERGY = m.Item(kind="power:powerReal", units="W", scale="k"), m.Item(kind="power:energyReal", units="Wh")
_SAMPLING = r.Sampling(min_us=US, max_us=60 * US)
_DESCRIPTIONS = tuple(
    r.Description(rid=rid, type=type_, item=item, reading_type="Direct Read", sampling=_SAMPLING)
    for rid, type_, item in (("activePower", "usage", _POWER), ("activeEnergyImport", "reading", _ENERGY))
)
_COLUMNS = {
    "activePower": Column(THING, "activePower", "W", 1e3),
    "activeEnergyImport": Column(THING, "activeEnergyImport", "Wh", 1.0),
}
_ASKED = Asked(_SPECIFIER, _COLUMNS)
"""What was asked for where the reports in frames.json are read."""


class NoProgrammes:
    """Stands for the node's programmes (`gridspine.energy.control_port.Controls`): nobody takes part in any."""

    revision = 0

    @property
    def following(self) -> "NoProgrammes":
        """What Things follow."""
        return self

    def followed(self, source: Source, thing: str) -> Followed:
        """Return nothing."""
        return Followed()

    async def changes(self) -> AsyncIterator[Change]:
        """Wait for what never comes."""
        await asyncio.get_running_loop().create_future()
        yield  # type: ignore[misc] # an iterator, of nothing


class _Untraced:
    """The VEN's own half of the wire, which the node's operators do not see (`gridspine.things.adapter.WireTrace`)."""

    on = False

    def __call__(self, direction: Any, said: Any, *, peer: str = "") -> None:
        """Forget it."""


class ReportingVen(CertifiedDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = LISTENER
    ends = (OSError, EOFError, GridspineError)
    pushes, commands = True, False
    secrets: Mapping[str, str] = {}
    passwords: Sequence[str] = ()
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "activeEnergyImport", 123_456.0, "Wh"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._registration = self._report = ""
        self._measured = 0

    def bindings(self) -> Sequence[Binding]:
        """Return the VEN's Thing."""
        return (Binding(THING, "VEN", "org", "m", {"venID": VEN}, _POINTS),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order, which no VEN is told."""
        return Order(f"c{sequence}", THING, "activePower", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the messages in frames.json."""
        return recorded("gridspine.adapters.openadr2")

    def decode(self, frame: bytes) -> Any:
        """Return a message by its name, and what reports in it come to."""
        message = read(frame)
        means: dict[str, Any] = {NAMES[type(message)]: msgspec.json.decode(msgspec.json.encode(message))}
        if isinstance(message, r.UpdateReport):
            rows = [row for one in message.reports for row in rows_of(_ASKED, one, _MARKED)]
            means["readings"] = [list(row) for row in rows]
        return means

    def encode(self, means: Any) -> bytes:
        """Return the message that says this."""
        name = next(iter(means))
        return write(msgspec.convert(means[name], MESSAGES[name].type))

    async def start(self, node: FakeNode) -> None:
        """Let the VEN be known by its certificate."""
        node.given_controls = NoProgrammes()
        self.known(node, DEVICE, THING)

    async def connected(self, host: str, port: int) -> None:
        """Report until something goes wrong: then it begins anew."""
        file = self._certificates.file
        access = Access(file("device.crt"), (), (), file("device.key"), file("ca.crt"))
        trace: WireTrace = _Untraced()
        remote = Remote(f"https://{host}:{port}/OpenADR2/Simple/2.0b", tls_of(access), trace)
        self.connections += 1
        try:
            while True:
                if not self.silent:
                    await self._speak(remote)
                await asyncio.sleep(AGAIN_S)
        finally:
            self.connections -= 1
            await remote.close()

    async def _speak(self, remote: Remote) -> None:
        """Register and offer what was not yet, and report what waits."""
        if not self._registration:
            asked = m.CreatePartyRegistration(request_id="register", ven_name="Rig", http_pull=True)
            self._registration = (await self._ask(remote, asked, m.CreatedPartyRegistration)).registration_id
        if not self._report:
            offer = r.Report(
                descriptions=_DESCRIPTIONS, request_id="0", specifier_id=_SPECIFIER, created_us=self._now_us(),
                name="METADATA_TELEMETRY_USAGE",
            )  # fmt: skip
            said = r.RegisterReport(request_id="offer", reports=(offer,), ven_id=VEN)
            self._report = (await self._ask(remote, said, r.RegisteredReport)).requests[0].request_id
        while self._waiting:
            await self._ask(remote, self._update(self._waiting[0]), r.UpdatedReport)
            del self._waiting[:1]
            self.acknowledged += 1

    async def _ask(self, remote: Remote, said: m.Message, kind: Any) -> Any:
        """Return the answer of that kind; raise `Unavailable` for another, and forget what the VTN has forgotten."""
        answer = await remote.say(said)
        if answer.response.code == NOT_REGISTERED:
            self._registration = self._report = ""
        elif answer.response.code == INVALID_ID:
            self._report = ""
        if answer.response.code != 200 or not isinstance(answer, kind):
            raise Unavailable(f"the VTN answers {answer.response.code} {answer.response.description}")
        return answer

    def _update(self, sample: Sample) -> r.UpdateReport:
        self._measured += 1  # else it would say something else of the same moment
        at_us = self._now_us() - US + self._measured
        value = sample.value / _COLUMNS[sample.name].factor
        interval = r.ReportInterval(start_us=at_us, payloads=(r.ReportPayload(rid=sample.name, value=value),))
        report = r.Report(
            start_us=at_us, intervals=(interval,), request_id=self._report, specifier_id=_SPECIFIER, created_us=at_us,
            name="TELEMETRY_USAGE",
        )  # fmt: skip
        return r.UpdateReport(request_id="report", reports=(report,), ven_id=VEN)

    def _now_us(self) -> int:
        assert self.node is not None, "it speaks once it has joined"
        return self.node.clock.now_us() // US * US


def rig() -> ReportingVen:
    """Return a new VEN."""
    return ReportingVen()
