"""Ceilings that partners set: on their own drivers, while these charge, and on nobody else."""

import asyncio
from dataclasses import replace

import msgspec
from ocpi_operator import CHARGER, A, B, roamed, started

from gridspine.adapters.ocpi.own import SESSIONS
from gridspine.energy.charging import LimitState
from gridspine.kernel.errors import Conflict


async def ceilings(**section):
    """An operator whose charging points take every ceiling, and a driver of A's there."""
    world = await started(**section)
    world.asked, world.work = [], []

    async def limit(partner, thing, limit, why):
        world.asked.append((partner, limit.steps[0][1]))
        return LimitState(f"c{len(world.asked)}", True, True)

    world.port.limit = limit
    world.later.check = lambda call, url: None
    world.later.begin = lambda call, url, work: world.work.append(work) or True
    await roamed(world)
    return world, world.kept(SESSIONS)[0]["id"]


async def asks(world, method, session, limit=6, **more):
    """Ask by OCPI, and return what is answered, at once and in the end."""
    profile = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": limit}]}
    body = msgspec.json.encode({"charging_profile": profile, "response_url": "http://x/back"})
    call = replace(
        world.call(), method=method, rest=(session,), body=body, query={"response_url": "", "duration": "60"}, **more
    )  # fmt: skip
    answer = (await world.profiles.handlers[method](call)).data
    return answer.result, (await world.work.pop()()).result if world.work else None


async def next_driver(world):
    world.clock.step_wall(60)
    world.push(B, "U2", "BBB")
    await world.tokens.on_token(CHARGER, "U2", "")
    return await world.charge("U2", "2")


async def test_a_ceiling_is_let_go_when_another_driver_begins_there_and_none_is_set_any_more() -> None:
    world, session = await ceilings()
    assert await asks(world, "PUT", session) == ("ACCEPTED", "ACCEPTED")
    await next_driver(world)  # nobody told that the one before ended
    assert (world.port.released, world.kept(SESSIONS)[0].get("profile", "")) == (["c1"], "")
    for method in ("PUT", "GET", "DELETE"):
        assert await asks(world, method, session, 0) == ("UNKNOWN_SESSION", None)
    assert world.asked == [(A, 6.0)]


async def test_a_ceiling_that_is_on_its_way_when_another_driver_begins_is_let_go() -> None:
    world, session = await ceilings()
    settled = LimitState("c1", True, True)
    put = world.store.put

    async def slowly(key, value):
        await asyncio.sleep(0.01)
        await put(key, value)

    world.store.put = slowly
    await asyncio.gather(world.profiles._swap(A, session, settled), next_driver(world))
    assert (world.port.released, world.kept(SESSIONS)[0].get("profile", "")) == (["c1"], "")
    assert await world.profiles._swap(A, session, LimitState("c2", True, True)) is False
    assert world.port.released == ["c1", "c2"]


async def test_a_ceiling_that_could_not_be_let_go_is_tried_again() -> None:
    world, session = await ceilings()
    await asks(world, "PUT", session)
    release, refused = world.port.release, []

    async def refuses(partner, command, reason):
        refused.append(command)
        raise Conflict("not now")

    world.port.release = refuses
    world.clock.step_wall(60)
    await world.charge("OWN", "2")
    assert refused == ["c1"]
    world.port.release = release
    run = asyncio.create_task(world.sessions.run())
    await asyncio.sleep(0)
    await world.clock.advance(61)
    async with asyncio.timeout(40):
        while world.kept(SESSIONS)[0].get("profile", ""):
            await asyncio.sleep(0.01)
    assert world.port.released == ["c1"]
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
