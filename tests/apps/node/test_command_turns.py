"""Rounds of commands: many callers, one append; a failure is told to whoever asked, and nothing is half done."""

import asyncio
from typing import Any

import pytest
from running_node import BATTERY, World, running

from gridspine.apps.node.commands import _after_step
from gridspine.kernel.errors import Conflict, DiskFull, NotFound
from gridspine.kernel.time import US
from gridspine.things.asking import Ask
from gridspine.things.lease import Authority


def lease(world: World, at: int, **more: Any) -> Any:
    now_us = world.node.clock.now_us()
    fields = {
        "thing": f"urn:example:b{at}", "point": "activePowerSetpoint", "value": 5.0, "role": "setpoint",
        "authority": Authority.OWNER, "principal": "p", "from_us": now_us, "until_us": now_us + 60 * US, **more,
    }  # fmt: skip
    return world.node.commands.new_lease(**fields)


async def batteries(world: World, count: int) -> None:
    for at in range(count):
        await world.thing(f"urn:example:b{at}", BATTERY, adapter="none")


async def test_what_waits_together_is_appended_together(world, monkeypatch):
    await batteries(world, 20)
    commands, appends = world.node.commands, []
    real = world.node.log.append

    def append(records):
        appends.append([record.topic for record in records])
        return real(records)

    monkeypatch.setattr(world.node.log, "append", append)
    made = await asyncio.gather(*(commands.request(lease(world, at), "") for at in range(20)))
    assert {one.state for one in made} == {"accepted"}
    with_commands = [topics.count("commands") for topics in appends if "commands" in topics]
    assert max(with_commands) > 5, "one commit for many"


async def test_of_those_that_touch_the_same_point_each_knows_the_one_before(world):
    await batteries(world, 1)
    commands = world.node.commands
    asked = [commands.request(lease(world, 0, value=float(at)), "") for at in range(5)]
    made = await asyncio.gather(*asked)
    states = [commands.commander.command(one.id).state for one in made]
    assert states == ["superseded"] * 4 + ["accepted"]


async def test_one_key_at_once_is_one_command(world):
    await batteries(world, 2)
    commands = world.node.commands
    one = lease(world, 0)
    asks = [Ask(one, "k", question="q") for _ in range(3)]
    made = await asyncio.gather(*(commands.request_all([ask]) for ask in asks))
    assert len({command.id for (command,) in made}) == 1
    other = commands.request_all([Ask(lease(world, 1), "k", question="other")])
    with pytest.raises(Conflict):
        await other


async def test_a_refused_request_fails_alone(world):
    await batteries(world, 2)
    commands = world.node.commands
    good, bad = commands.request(lease(world, 0), ""), commands.request(lease(world, 1, value=float("nan")), "")
    made, error = await asyncio.gather(good, bad, return_exceptions=True)
    assert made.state == "accepted"
    assert "finite" in str(error)
    with pytest.raises(NotFound):
        await commands.cancel("urn:uuid:nothing", "x")


async def test_when_nothing_can_be_kept_all_are_told_and_nothing_has_happened(world, monkeypatch):
    await batteries(world, 3)
    commands, real = world.node.commands, world.node.log.append

    def append(records):
        if any(record.topic == "commands" for record in records):
            raise DiskFull("no room")
        return real(records)

    with monkeypatch.context() as patch:
        patch.setattr(world.node.log, "append", append)
        asked = [commands.request(lease(world, at), "") for at in range(3)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, DiskFull) for error in errors), errors
    assert commands.commander.commands() == []
    assert (await commands.request(lease(world, 0), "")).state == "accepted", "and goes on when there is room again"


async def test_rounds_in_any_mixture_leave_what_a_replay_makes(tmp_path):
    async with running(tmp_path / "data") as world:
        await batteries(world, 6)
        commands = world.node.commands
        for round_ in range(6):
            made = await asyncio.gather(*(commands.request(lease(world, at, value=at), "") for at in range(6)))
            words = ("sent", "acknowledged", "rejected")
            mixed = [commands.progress(one.id, words[(at + round_) % 3]) for at, one in enumerate(made)]
            mixed += [commands.cancel(made[round_ % 6].id, "no")]
            if round_ == 3:
                mixed += [commands.all_stop("p", "so"), commands.release("p", "so")]
            for error in await asyncio.gather(*mixed, return_exceptions=True):
                assert error is None or isinstance(error, Conflict) or not isinstance(error, BaseException), error
        await commands.tick()
        before = {one.id: one for one in commands.commander.commands()}
        orders = {(order.thing, order.sequence) for order in commands.commander.in_force(world.node.clock.now_us())}
    async with running(tmp_path / "data") as world:
        commander = world.node.commands.commander
        assert {one.id: one for one in commander.commands()} == before
        assert {(order.thing, order.sequence) for order in commander.in_force(world.node.clock.now_us())} >= orders


async def test_what_was_asked_before_the_clock_was_set_lasts_as_long_as_it_was_asked_for(world):
    """Such as a request that waits behind a slow disk meanwhile; what is to come keeps its time."""
    now, later = (
        lease(world, 0),
        lease(world, 1, from_us=world.node.clock.now_us() + 3600 * US, until_us=world.node.clock.now_us() + 7200 * US),
    )
    for step_us in (-10 * US, 10 * US):
        shifted, kept = _after_step([Ask(now), Ask(later)], step_us)
        assert (shifted.lease.from_us, shifted.lease.until_us) == (now.from_us + step_us, now.until_us + step_us)
        assert kept.lease == later
    assert _after_step([Ask(now)], 1000)[0].lease == now, "a clock that drifts was not set"
