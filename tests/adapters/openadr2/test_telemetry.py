"""What a VTN is told of intervals in which nothing new was read."""

from types import SimpleNamespace

import pytest

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.client import telemetry
from gridspine.adapters.openadr2.client.record import KnownReport
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.energy.upstream.report import Told
from gridspine.kernel.errors import NotFound, Overloaded, Unavailable
from gridspine.kernel.time import US

AT_US = 1_800_000_000 * US


class Remote:
    """A VTN that takes whatever it is told."""

    def __init__(self):
        self.said, self.answer = [], None

    async def say(self, message):
        self.said.append(message)
        return self.answer


class Telling:
    """Tells a VTN of three minutes of power, by how the node has it: ``found``, or what it raises."""

    def __init__(self, monkeypatch):
        self.found, self.remote = Told(), Remote()
        monkeypatch.setattr(telemetry, "history", self._history)
        reports = {"1": KnownReport("telemetry", {"power": "activePower"}, 60 * US, 180 * US, AT_US)}
        markets = {"": KnownProgramme("urn:programme", "urn:enrolment")}
        self.now = SimpleNamespace(reports=reports, markets=markets, ven_id="1")
        self.let_go = set()
        enrolments = SimpleNamespace(get=self._enrolment)
        self.mirror = SimpleNamespace(problems=[], port=lambda: SimpleNamespace(enrolments=enrolments))
        clock = SimpleNamespace(now_us=lambda: AT_US + 200 * US, randbytes=bytes, monotonic_us=lambda: 0)
        kept, connection = SimpleNamespace(now=self.now, change=self._change), SimpleNamespace(telemetry="urn:meter")
        self.telemetry = telemetry.Telemetry(self.mirror, kept, connection, clock)

    def _enrolment(self, programme, _):
        if programme in self.let_go:
            raise NotFound("there is no such programme")
        return SimpleNamespace(state="active", from_us=0)

    async def _history(self, port, programme, thing, wanted, span):
        assert (thing, wanted.point, span) == ("urn:meter", "activePower", (AT_US, AT_US + 180 * US))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def _change(self, **fields):
        self.now.__dict__.update(fields)

    async def __call__(self, found):
        self.found = found
        await self.telemetry.tell(self.remote)
        return [
            ((one.start_us - AT_US) // US, payload.value, payload.quality)
            for said in self.remote.said for report in said.reports for one in report.intervals
            for payload in one.payloads
        ]  # fmt: skip


@pytest.fixture
def told(monkeypatch):
    return Telling(monkeypatch)


async def test_a_value_that_still_holds_is_told_as_the_previous_one(told):
    assert await told(Told((5.0, 5.0, 7.0), frozenset({1}))) == [
        (0, 5.0, "Quality Good - Non Specific"),
        (60, 5.0, "No New Value - Previous Value Used"),
        (120, 7.0, "Quality Good - Non Specific"),
    ]


async def test_an_interval_of_which_nothing_is_known_is_left_out(told):
    assert [at for at, _, _ in await told(Told((None, 5.0, None), frozenset({1})))] == [60]


async def test_where_nothing_is_known_nothing_is_told(told):
    assert await told(Told((None, None, None))) == []
    assert told.mirror.problems == []


@pytest.mark.parametrize("error", [Overloaded("a query is running"), Unavailable("the archive is away")])
async def test_that_the_node_cannot_look_at_its_history_is_no_fault_of_the_vtn(told, error):
    assert told.telemetry.next_us() == AT_US + 190 * US
    assert await told(error) == []
    assert told.mirror.problems == [f"report 1: {error.detail}"]
    assert told.telemetry.next_us() == 0, "it is tried when the VTN is asked the next time"
    assert [value for _, value, _ in await told(Told((1.0, 2.0, 3.0)))] == [1.0, 2.0, 3.0]
    assert told.telemetry.next_us() == AT_US + 370 * US


async def test_a_programme_that_was_let_go_keeps_nothing_from_being_told_by_another(told):
    told.let_go.add("urn:old")
    told.now.markets = {"urn:market": KnownProgramme("urn:old", "urn:enrolment"), **told.now.markets}
    assert [value for _, value, _ in await told(Told((1.0, 2.0, 3.0)))] == [1.0, 2.0, 3.0]
    assert told.mirror.problems == []


async def test_a_report_that_the_vtn_cancels_as_it_takes_it_is_told_no_more(told):
    cancel = r.CancelReport(request_id="9", report_request_ids=("1",))
    told.remote.answer = r.UpdatedReport(response=m.Response(), cancel=cancel)
    assert len(await told(Told((5.0, 5.0, 7.0)))) == 3
    assert told.now.reports == {}
    assert told.telemetry.next_us() == 0
