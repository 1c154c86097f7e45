"""What is listed as before, and means something else: by its program, its owner's consent, or the VTN's clock."""

import pytest
from openadr3_home import eventually, home, limited
from openadr3_said import LIMIT, PRICE, made, program

from gridspine.adapters.openadr3 import session
from gridspine.adapters.openadr3.call import Answer
from gridspine.kernel.errors import GridspineError, Invalid, NotFound
from gridspine.kernel.time import parse_rfc3339

NOW = "0001-01-01T00:00:00Z"


async def put(bl, path, body):
    answer = await bl.put(path, json=body)
    assert answer.status_code == 200, answer.text


async def test_a_unit_that_the_program_says_later_makes_a_limit_of_what_was_to_know(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening")
    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        await eventually(one.programmes, lambda found: len(found) == 1)
        first = await made(bl, "/events", limited(of, 2.5))
        (found,) = await eventually(one.events, lambda found: len(found) == 1)
        assert not found["commands"]
        await put(bl, f"/programs/{of['id']}", {"programName": "Evening", "payloadDescriptors": [PRICE, LIMIT]})
        await eventually(one.standing, [2500])
        # what says nothing else of it leaves it as it is
        before = [found["id"] for found in await one.events()]
        described = [PRICE, LIMIT, {**LIMIT, "payloadType": "EXPORT_CAPACITY_LIMIT"}]
        await put(bl, f"/programs/{of['id']}", {"programName": "Night", "payloadDescriptors": described})
        await eventually(one.programmes, lambda found: [p["title"] for p in found] == ["Night"])
        other = await made(bl, "/events", limited(of, 3, begin_s=3600))
        await eventually(one.events, lambda found: len(found) == len(before) + 1)
        assert first["id"] != other["id"]
        assert [found["id"] for found in await one.events()][1:] == before


async def _broken(app, handler, call, query, scope):
    raise GridspineError("broken")


async def test_consent_to_more_and_to_less_reaches_events_that_are_known(vtn, tmp_path, monkeypatch) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])
    await made(bl, "/events", limited(of, 2.5))
    async with home(tmp_path / "home", vtn) as one:
        await one.follow(modes=[])
        (found,) = await eventually(one.events, lambda found: len(found) == 1)
        assert not found["commands"]
        await one.connect(modes=["importLimitW"])
        await eventually(one.standing, [2500])
        monkeypatch.setattr(session.App, "_polled", _broken)  # less holds also where the VTN does not answer
        await one.connect(modes=[])
        await eventually(one.standing, [])


async def test_what_was_cancelled_at_the_node_stays_so_until_the_vtn_changes_it(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])
    event = await made(bl, "/events", limited(of, 2.5))
    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        await eventually(one.standing, [2500])
        (found,) = await one.events()
        path = f"/programmes/{found['programme']}/events/{found['id']}/cancel"
        assert (await one.world.op.post(path, json={"reason": "not today"})).status_code in {200, 201}
        megawatts = {"programName": "Evening", "payloadDescriptors": [PRICE, {**LIMIT, "units": "MW"}]}
        await put(bl, f"/programs/{of['id']}", megawatts)
        await made(bl, "/events", limited(of, 3, begin_s=3600))
        found = await eventually(one.events, lambda found: len(found) == 2)
        assert [each["status"] for each in found] == ["scheduled", "cancelled"]
        await put(bl, f"/events/{event['id']}", limited(of, 0.002))
        await eventually(one.standing, [2000])


async def test_now_is_when_the_event_was_changed_at_last(vtn, tmp_path) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])

    def at_once(kw):
        return {**limited(of, kw), "intervalPeriod": {"start": NOW, "duration": "PT1H"}}

    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        await eventually(one.programmes, lambda found: len(found) == 1)
        event = await made(bl, "/events", at_once(2.5))
        await eventually(one.standing, [2500])
        await put(bl, f"/events/{event['id']}", at_once(1.5))
        newer, older = await eventually(one.events, lambda found: len(found) == 2)
        begins, began = (parse_rfc3339(each["intervals"][0]["from"]) for each in (newer, older))
        assert begins > began


FAILURES = {
    "500": GridspineError("broken"), "404": NotFound("there is nothing"), "400": Invalid("no"),
    "200, no list": Answer(200, b'{"title": "broken", "status": 500}'), "200, nothing": Answer(200, b""),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_an_error_is_not_taken_for_an_empty_list(vtn, tmp_path, monkeypatch, failure) -> None:
    bl = await vtn.client("operator")
    of = await program(bl, "Evening", payloadDescriptors=[PRICE, LIMIT])
    await made(bl, "/events", limited(of, 2.5))
    asked = []

    async def broken(app, handler, call, query, scope):
        asked.append(scope["path"])
        if isinstance(failure, Answer):
            return failure
        raise failure

    async with home(tmp_path / "home", vtn) as one:
        await one.follow()
        await eventually(one.standing, [2500])
        with monkeypatch.context() as patch:
            patch.setattr(session.App, "_polled", broken)
            await eventually(one.connected, 0)
        assert asked
        assert await one.standing() == [2500]
        await eventually(one.connected, 1)
        assert [found["status"] for found in await one.events()] == ["active"]
