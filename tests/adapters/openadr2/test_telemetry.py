"""What a VTN is told of intervals in which nothing new was read."""

from types import SimpleNamespace

import pytest

from gridspine.adapters.openadr2.client import telemetry
from gridspine.adapters.openadr2.client.record import KnownReport
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.energy.upstream.report import Told
from gridspine.kernel.time import US

AT_US = 1_800_000_000 * US


class Remote:
    """A VTN that takes whatever it is told."""

    def __init__(self):
        self.said = []

    async def say(self, message):
        self.said.append(message)


@pytest.fixture
def told(monkeypatch):
    """Tell a VTN of three minutes of power; return what it was told, by how the node has it."""

    async def of(found):
        async def history(port, programme, thing, wanted, span):
            assert (thing, wanted.point, span) == ("urn:meter", "activePower", (AT_US, AT_US + 180 * US))
            return found

        async def change(**fields):
            kept.now.__dict__.update(fields)

        monkeypatch.setattr(telemetry, "history", history)
        reports = {"1": KnownReport("telemetry", {"power": "activePower"}, 60 * US, 180 * US, AT_US)}
        now = SimpleNamespace(
            reports=reports, markets={"": KnownProgramme("urn:programme", "urn:enrolment")}, ven_id="1"
        )
        kept = SimpleNamespace(now=now, change=change)
        enrolments = SimpleNamespace(get=lambda *_: SimpleNamespace(state="active", from_us=0))
        mirror = SimpleNamespace(problems=[], port=lambda: SimpleNamespace(enrolments=enrolments))
        clock = SimpleNamespace(
            now_us=lambda: AT_US + 200 * US, randbytes=lambda n: bytes(n), monotonic_us=lambda: 0
        )  # fmt: skip
        remote = Remote()
        await telemetry.Telemetry(mirror, kept, SimpleNamespace(telemetry="urn:meter"), clock).tell(remote)
        assert mirror.problems == []
        return [
            ((one.start_us - AT_US) // US, payload.value, payload.quality)
            for said in remote.said for report in said.reports for one in report.intervals for payload in one.payloads
        ]  # fmt: skip

    return of


async def test_a_value_that_still_holds_is_told_as_the_previous_one(told):
    assert await told(Told((5.0, 5.0, 7.0), frozenset({1}))) == [
        (0, 5.0, "Quality Good - Non Specific"),
        (60, 5.0, "No New Value - Previous Value Used"),
        (120, 7.0, "Quality Good - Non Specific"),
    ]


async def test_an_interval_of_which_nothing_is_known_is_left_out(told):
    assert [at for at, _, _ in await told(Told((None, 5.0, None), frozenset({1})))] == [60]
    assert await told(Told((None, None, None))) == []
