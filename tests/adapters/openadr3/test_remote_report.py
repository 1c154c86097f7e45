"""When a VTN is told: at the end of what it asked for, and what could not be told whenever it is asked again."""

from types import SimpleNamespace

from gridspine.adapters.openadr3.remote_record import Due, KnownEvent
from gridspine.adapters.openadr3.remote_report import GRACE_S, Reports
from gridspine.kernel.errors import Conflict
from gridspine.kernel.time import US

END_US = 1_800_000_000 * US
READY_US = END_US + round(GRACE_S * US)


async def test_a_report_that_could_not_be_made_calls_for_no_sooner_time(monkeypatch):
    async def lacking(*given):
        raise Conflict("its history lacks")

    monkeypatch.setattr(Reports, "_send", lacking)
    due = Due("USAGE", "KWH", ((0, END_US - 900 * US, END_US),))
    later = Due("USAGE", "KWH", ((1, END_US, END_US + 900 * US),))
    kept = SimpleNamespace(events={"event": KnownEvent("program", "", "", 0, due=(due, later))})
    mirror = SimpleNamespace(problems=[])
    reports = Reports(mirror, kept, None, None)
    assert reports.next_us() == READY_US
    await reports.tell(READY_US)
    assert mirror.problems == ["report USAGE of event: its history lacks"]
    assert kept.events["event"].due == (due, later)  # it is tried again
    assert reports.next_us() == READY_US + 900 * US
