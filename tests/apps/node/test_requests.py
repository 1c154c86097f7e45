"""What an adapter may say of requests, orders and tokens: only of its own; what an action is given fits its model."""

import asyncio

import pytest
from hosted_node import hosting

from gridspine.apps.node.adapters import HostedContext
from gridspine.kernel.errors import Conflict, Invalid, Unauthenticated
from gridspine.things.action import ActionModel
from gridspine.things.action_input import check_input
from gridspine.things.wire_trace import SilentTrace

THING = "urn:example:charger"
CHARGER = "https://gridspine.org/models/ev_charger"
ACTIONS = f"/things/{THING}/actions"


@pytest.fixture
async def hosted(tmp_path, monkeypatch):
    async with hosting(tmp_path / "data") as (world, context):
        monkeypatch.setattr(world.node.adapters, "wire_trace", lambda _: SilentTrace())
        await world.thing(THING, CHARGER, adapter="handed", connection={})
        yield world, context, HostedContext(world.node.adapters, "other", {})


def taking(requests):
    """Follow what an adapter is asked, as it would."""
    queue = asyncio.Queue()

    async def follow():
        async for one in requests:
            queue.put_nowait(one)

    return queue, asyncio.create_task(follow())


async def ended(world, href):
    async with asyncio.timeout(60):
        while (status := (await world.op.get(href)).json())["status"] not in {"completed", "failed"}:
            await asyncio.sleep(0.01)
    return status


async def test_a_request_and_an_order_are_their_own_adapters_to_end(hosted):
    world, context, other = hosted
    asked, following = taking(context.requests())
    orders, obeying = taking(context.orders())
    await asyncio.sleep(0)
    href = (await world.op.post(f"{ACTIONS}/clearCache")).json()["href"]
    request = await asked.get()
    other.request_ended(request.id, "done", {"status": "Forged"})
    await asyncio.sleep(0.05)
    assert (await world.op.get(href)).json()["status"] == "running"
    context.request_ended(request.id, "done", {"status": "Accepted"})
    assert (await ended(world, href))["output"] == {"status": "Accepted"}
    body = {"thing": THING, "point": "currentLimit", "value": 10.0, "durationS": 60}
    command = (await world.op.post("/commands", json=body)).json()["id"]
    order = await orders.get()
    await other.progress(order.command, "rejected", "forged", sequence=order.sequence)
    commander = world.node.commands.commander
    assert commander.command(command).state == "accepted"
    await context.progress(order.command, "rejected", "out of range", sequence=order.sequence)
    assert (commander.command(command).state, commander.command(command).reason) == ("rejected", "out of range")
    released = await orders.get()
    assert (released.value, released.sequence) == (None, order.sequence + 1), "what was rejected stands no more"
    assert commander.leases(THING, "currentLimit") == []
    for task in (following, obeying):
        task.cancel()
    await asyncio.gather(following, obeying, return_exceptions=True)


async def test_a_read_is_its_own_adapters_to_end(hosted):
    world, context, other = hosted
    asked, following = taking(context.reads())
    await asyncio.sleep(0)
    reading = asyncio.create_task(world.node.adapters.reads.read(THING))
    request = await asked.get()
    other.read_ended(request.id, "forged")
    await asyncio.sleep(0)
    assert not reading.done()
    context.read_ended(request.id)
    await reading
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_plain_token_opens_the_door_it_was_made_at_and_no_other(hosted):
    world, context, other = hosted
    id_, _ = world.client("northside-networks", "operator")
    password = await asyncio.to_thread(world.node.identity.new_device_password, id_)
    source = await context.authorise(id_, password)
    token, _ = context.issue_token(source)
    assert context.by_token(token).principal == id_
    with pytest.raises(Unauthenticated, match="made elsewhere"):
        other.by_token(token)
    identity = world.node.identity
    plain = identity.tokens.issue(id_, scope="operator", sid=source.session, epoch=source.epoch, cnf=None)
    with pytest.raises(Unauthenticated, match="made elsewhere"):
        context.by_token(plain)
    with pytest.raises(Unauthenticated):
        identity.by_bearer(token, None, plain=True)


async def test_what_does_not_fit_the_models_schema_is_refused_before_anything_is_asked(hosted):
    world, context, _ = hosted
    asked, following = taking(context.requests())
    await asyncio.sleep(0)
    secret = "geheim" * 200
    for name, given, words in (
        ("setVariables", {"values": {"AuthorizationKey": secret}}, "values/AuthorizationKey"),
        ("setVariables", None, "values"),
        ("reserve", {"token": "T", "until": "soon"}, "until"),
        ("remoteStart", {"token": "T", "limit": 4}, "limit"),
        ("clearCache", {"all": True}, "takes no input"),
    ):
        answer = await world.op.post(f"{ACTIONS}/{name}", json=given)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
        assert "geheim" not in answer.text
    assert asked.empty()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_a_models_schema_that_refers_elsewhere_judges_nothing_and_asks_nobody():
    elsewhere = ActionModel("a", "A", "", "request", {}, {"$ref": "http://127.0.0.1:9/schema"})
    with pytest.raises(Conflict, match="no JSON Schema by itself"):
        check_input(elsewhere, {})
    slow = ActionModel("b", "B", "", "request", {}, {"type": "string", "pattern": "^(a|a)*(?=b)$"})
    with pytest.raises(Invalid):
        check_input(slow, "a" * 60)
