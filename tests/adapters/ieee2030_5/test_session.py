"""What a client is shown is kept while nothing changes, and by a clock that was set back it is another thing."""

from types import SimpleNamespace

from gridspine.adapters.ieee2030_5.end_device import EndDevices
from gridspine.adapters.ieee2030_5.record import Book
from gridspine.adapters.ieee2030_5.session import Sessions
from gridspine.adapters.ieee2030_5.settings import read_settings
from gridspine.energy.followed import Followed
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.things.adapter import Binding, Source

LFDI = "AB" * 20


class Store(dict):
    async def put(self, key, value):
        self[key] = value

    async def get(self, key):
        return dict.get(self, key)


async def test_what_was_rendered_is_made_anew_when_the_clock_was_set_back(monkeypatch) -> None:
    clock, asked = VirtualClock(), []

    async def authorise(*given):
        asked.append(given)
        return Source("p", "o", "s")

    context = SimpleNamespace(clock=clock, authorise=authorise, may_publish=lambda *_given: True)
    follow = SimpleNamespace(followed=lambda *_given: Followed())
    commands = SimpleNamespace(assigned=lambda *_given: None)
    sessions = Sessions(context, read_settings({}), Book(Store()), follow, commands)
    sessions.devices = EndDevices([Binding("urn:example:a", "A", "o", "m", {"lfdi": LFDI})])
    monkeypatch.setattr("gridspine.adapters.ieee2030_5.session.lfdi_of", lambda _der: LFDI)

    async def shown():
        (await sessions.client(b"der")).keep("/edev", b"<a/>")
        return sessions.quick(b"der", "/edev", clock.now_us())

    assert [await shown(), await shown()] == [(b"<a/>",)] * 2
    assert len(asked) == 1
    clock.step_wall(-3_600)
    assert sessions.quick(b"der", "/edev", clock.now_us()) is None
    assert await shown() == (b"<a/>",)
    assert len(asked) == 2
