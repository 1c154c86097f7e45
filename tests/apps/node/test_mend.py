"""What fails after the commit is made good: a relay, the publishing of a batch, a product's subscribers."""

import asyncio

import pytest
from running_node import BEGIN_S, SENML, Sse, until

from gridspine.kernel.errors import DiskFull
from gridspine.sharing.parcel import Mask


def failing_once(real, error, when=lambda *_: True):
    """Return ``real`` that raises the first time ``when`` holds, and a list of how often it did."""
    raised = []

    def call(*arguments, **named):
        if not raised and when(*arguments):
            raised.append(error)
            raise error
        return real(*arguments, **named)

    return call, raised


def full_for(world, monkeypatch, topics):
    """No record of ``topics`` is taken until the list returned is emptied."""
    full, append = list(topics), world.node.log.append

    def refuse(records):
        if any(record.topic in full for record in records):
            raise DiskFull("not even the room kept back is left")
        return append(records)

    monkeypatch.setattr(world.node.log, "append", refuse)
    return full


async def test_a_thing_that_was_kept_but_not_told_is_seen_once_there_is_room(world, monkeypatch):
    """Until its numbers are bound in the log it takes no readings; then nobody needs to restart anything."""
    full = full_for(world, monkeypatch, ["points"])
    asked = {"id": "urn:example:m9", "title": "M", "model": "https://gridspine.org/models/meter"}
    assert (await world.op.post("/things", json=asked)).status_code == 507
    assert (await world.op.get("/things/urn:example:m9")).status_code == 403  # as one that is not there
    row = [{"n": "urn:example:m9/voltage", "v": 230, "t": BEGIN_S}]
    assert (await world.op.post("/readings", json=row, headers=SENML)).json()["refused"] == 1
    full.clear()
    await until(lambda: world.node.points.number("urn:example:m9/voltage") >= 0)
    bound = world.node.log.read("points", 0, 0)
    assert any(b"urn:example:m9" in record.body for record in bound)
    assert (await world.op.get("/things/urn:example:m9")).status_code == 200
    assert (await world.op.post("/readings", json=row, headers=SENML)).json()["accepted"] == 1


async def test_a_product_that_was_kept_but_not_told_is_seen_once_there_is_room(world, monkeypatch):
    point = f"{await world.thing()}/voltage"
    full = full_for(world, monkeypatch, ["ledger"])
    contract = {"licence": "MIT", "purposes": ["a"]}
    answer = await world.op.post("/products", json={"title": "P", "points": [point], "contract": contract})
    assert answer.status_code == 507
    assert (await world.op.get("/products")).json() == []
    full.clear()
    await until(lambda: world.node.access.products())
    (product,) = (await world.op.get("/products")).json()
    assert product["title"] == "P"


async def test_a_batch_that_was_kept_but_not_published_reaches_twins_and_subscribers(world, monkeypatch):
    """Its sender is told of an error; the log has it, and what is made from the log does not stay behind."""
    energy, product, _ = await world.shared()
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, enough=3))
    await stream.opened.wait()
    await world.send(energy, [1])
    books = world.node.intake.books
    call, raised = failing_once(books.twins.apply, RuntimeError("planted"))
    monkeypatch.setattr(type(books.twins), "move", lambda self, accepted: call(accepted))
    body = [{"n": energy, "v": 2, "t": BEGIN_S + 1}, {"n": "urn:example:m1/voltage", "v": 230, "t": BEGIN_S}]
    assert (await world.op.post("/readings", json=body, headers=SENML)).status_code == 500
    assert raised
    await world.send(energy, [3], begin_s=BEGIN_S + 2)
    await asyncio.wait_for(following, 60)
    assert [record["v"] for record in stream.records] == [1, 2, 3]
    await until(lambda: not books.behind)
    assert (await world.op.get("/things/urn:example:m1/properties/voltage")).json()["value"] == 230
    assert books.applied == {0: world.node.log.bounds("readings")[0][1]}


async def test_the_last_batch_is_made_good_too_and_no_snapshot_passes_it(world, monkeypatch):
    """Nothing need come after it."""
    energy, product, _ = await world.shared()
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, enough=1))
    await stream.opened.wait()
    books = world.node.intake.books
    call, _ = failing_once(books.twins.apply, RuntimeError("planted"))
    monkeypatch.setattr(type(books.twins), "move", lambda self, accepted: call(accepted))
    before = dict(books.applied)
    body = [{"n": energy, "v": 2, "t": BEGIN_S + 1}]
    assert (await world.op.post("/readings", json=body, headers=SENML)).status_code == 500
    assert dict(books.applied) == before or not books.behind
    await asyncio.wait_for(following, 60)
    assert [record["v"] for record in stream.records] == [2]
    assert (await world.op.get(f"/things/{energy.replace('/', '/properties/')}")).json()["value"] == 2


@pytest.mark.parametrize("broken", [0, 1])
async def test_one_product_that_fails_costs_the_others_nothing(world, monkeypatch, broken):
    energy, first, _ = await world.shared()
    second = await world.product(energy)
    await world.grant(second)
    streams = {product: Sse() for product in (first, second)}
    following = [asyncio.ensure_future(one.follow(world.co, product, enough=2)) for product, one in streams.items()]
    for stream in streams.values():
        await stream.opened.wait()
    await until(lambda: len(world.node.hub._by_product) == 2)
    wrong = (first, second)[broken]
    real = Mask.pick
    call, raised = failing_once(real, RuntimeError("planted"), lambda mask, _: mask.product == wrong)
    monkeypatch.setattr(Mask, "pick", lambda self, readings: call(self, readings))
    await world.send(energy, [1])
    await world.send(energy, [2], begin_s=BEGIN_S + 1)
    await asyncio.wait_for(asyncio.gather(*following), 60)
    assert raised
    for stream in streams.values():
        assert [record["v"] for record in stream.records] == [1, 2]
