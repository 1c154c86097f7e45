"""Access: products of one's own points, grants kept before they hold, and who wins when two decide at once."""

import asyncio

import pytest

from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.sharing import access as module
from gridspine.sharing.access import Access
from gridspine.sharing.gate import Gate
from gridspine.sharing.grant import Grant
from gridspine.sharing.product import MAX_POINTS, Contract, Product

POINTS = {"urn:x:t/a": (0, "W", "own"), "urn:x:t/b": (1, "V", "own"), "urn:x:f/a": (2, "W", "foreign")}
CONTRACT = Contract("MIT", ("a", "b"))
DAY_US = 86_400_000_000


@pytest.fixture
def rooms(tmp_path):
    clock = VirtualClock()
    registry = SqlRegistry(sqlite_url(tmp_path / "registry.db"), clock, None)

    def make():
        gate = Gate(clock)
        return Access(registry, gate, clock, lambda name: POINTS.get(name, (-1, "", ""))), gate

    yield make, clock
    registry.close()


def product(*points, **more):
    return Product("", "own", **({"title": "P", "points": points, "contract": CONTRACT} | more))


async def ask(access, clock, made, **more):
    now_us = clock.now_us()
    fields = {"consumer": "con", "purpose": "a", "from_us": now_us, "until_us": now_us + DAY_US, "actor": "ann"}
    return await access.ask(made, **fields | more)


@pytest.mark.parametrize(
    "bad",
    [
        product("urn:x:f/a"),
        product("urn:x:t/a", "urn:x:f/a"),
        product("urn:x:none/a"),
        product(),
        product("urn:x:t/a", "urn:x:t/a"),
        product("urn:x:t/a", title="  "),
        product("urn:x:t/a", contract=Contract("MIT", ())),
        product("urn:x:t/a", contract=Contract("", ("a",))),
        product("urn:x:t/a", title="P" * 201),
        product("urn:x:t/a", contract=Contract("MIT", ("a" * 201,))),
        product("urn:x:t/a", contract=Contract("MIT", tuple(str(at) for at in range(51)))),
        product("urn:x:t/a", contract=Contract("MIT", ("a",), description="d" * 10_001)),
        product(*(f"urn:x:t/{at}" for at in range(MAX_POINTS + 1))),
    ],
    ids=range(13),
)
async def test_products_that_cannot_be(rooms, bad):
    """Somebody else's point is refused with the words that one gets for a point that is not there."""
    access, _ = rooms[0]()
    with pytest.raises(Invalid):
        await access.publish(bad, actor="ann")
    assert access.products() == []


async def test_a_foreign_point_and_none_are_answered_alike(rooms):
    access, _ = rooms[0]()
    said = []
    for name in ("urn:x:f/a", "urn:x:n/a"):
        with pytest.raises(Invalid) as refused:
            await access.publish(product(name), actor="ann")
        said.append(refused.value.detail.replace(name, "…"))
    assert said[0] == said[1]


async def test_what_was_decided_is_there_after_a_restart(rooms):
    make, clock = rooms
    access, _ = make()
    made = await access.publish(product("urn:x:t/a"), actor="ann")
    one = await ask(access, clock, made)
    two = await ask(access, clock, made, purpose="b")
    await access.decide(one.id, "approve", actor="bob")
    await access.decide(two.id, "refuse", actor="bob", reason="no")
    again, gate = make()
    await again.load()
    assert [p.id for p in again.products()] == [made.id]
    assert gate.grant(one.id).state == "active"
    assert gate.grant(one.id).epoch == 2
    assert (gate.grant(two.id).state, gate.grant(two.id).reason) == ("refused", "no")
    assert again.mask(again.product(made.id)).local.tolist() == [0]


async def test_of_two_decisions_at_once_one_counts(rooms):
    make, clock = rooms
    access, gate = make()
    one = await ask(access, clock, await access.publish(product("urn:x:t/a"), actor="ann"))
    ended = await asyncio.gather(
        *(access.decide(one.id, verb, actor="bob") for verb in ("approve", "refuse") * 5), return_exceptions=True
    )
    done = [end for end in ended if isinstance(end, Grant)]
    assert len(done) == 1
    assert all(isinstance(end, Conflict) for end in ended if end is not done[0])
    assert gate.grant(one.id) == done[0]


async def test_a_revocation_counts_although_its_event_could_not_be_handed_on(rooms, monkeypatch):
    make, clock = rooms
    access, gate = make()
    asked = await ask(access, clock, await access.publish(product("urn:x:t/a"), actor="ann"))
    grant = await access.decide(asked.id, "approve", actor="bob")
    cuts = []
    gate.watch(grant.id, cuts.append)
    registry, whole = access._registry, type(access._registry).transact

    def broken(work):
        whole(registry, work)
        raise OSError("the log is gone")

    monkeypatch.setattr(registry, "transact", broken)
    with pytest.raises(OSError, match="gone"):
        await access.decide(grant.id, "revoke", actor="bob")
    assert cuts == ["revoked"]
    assert gate.grant(grant.id).state == "revoked"


async def test_products_are_bounded_and_masks_made_again(rooms, monkeypatch):
    access, _ = rooms[0]()
    monkeypatch.setattr(module, "MAX_PRODUCTS", 2)
    monkeypatch.setattr(module, "MAX_MASK_BYTES", 1)
    one, two = [await access.publish(product("urn:x:t/a"), actor="ann") for _ in range(2)]
    with pytest.raises(Conflict, match="products"):
        await access.publish(product("urn:x:t/a"), actor="ann")
    first = access.mask(one)
    assert access.mask(one) is first
    assert access.mask(two).product == two.id
    assert access.mask(one) is not first, "there was room for one only"
    assert access.mask(one).local.tolist() == first.local.tolist()
    monkeypatch.setattr(module, "MAX_PRODUCTS", 3)
    monkeypatch.setattr(module, "MAX_PUBLISHED_POINTS", 2)
    with pytest.raises(Conflict, match="points"):
        await access.publish(product("urn:x:t/a"), actor="ann")


async def test_requests_that_cannot_be(rooms, monkeypatch):
    make, clock = rooms
    access, _ = make()
    made = await access.publish(product("urn:x:t/a"), actor="ann")
    now_us = clock.now_us()
    for bad in (
        {"purpose": "other"},
        {"until_us": now_us},
        {"until_us": now_us - 1, "from_us": now_us - 2},
        {"from_us": now_us + 5, "until_us": now_us + 5},
    ):
        with pytest.raises(Invalid):
            await ask(access, clock, made, **bad)
    with pytest.raises(NotFound):
        await access.decide("urn:x:none", "approve", actor="bob")
    monkeypatch.setattr(module, "MAX_REQUESTS", 3)
    waiting = [await ask(access, clock, made) for _ in range(3)]
    with pytest.raises(Overloaded):
        await ask(access, clock, made)
    await ask(access, clock, made, consumer="another")
    await access.decide(waiting[0].id, "revoke", actor="ann")  # withdrawn
    await ask(access, clock, made)


async def test_who_sees_which_grants(rooms):
    make, clock = rooms
    access, _ = make()
    one = await ask(access, clock, await access.publish(product("urn:x:t/a"), actor="ann"))
    assert [g.id for g in access.grants_of("own")] == [g.id for g in access.grants_of("con")] == [one.id]
    assert access.grants_of("another") == []
    assert access.standing(one.product, "con").id == one.id
    assert access.standing(one.product, "another") is None


def test_a_mask_follows_its_owners_points_and_nobody_elses(rooms) -> None:
    """Points that moved bring their former numbers; a Thing given away brings those of the owner's own time only."""
    make, _ = rooms
    access, _ = make()
    places = {"urn:x:t/a": (7, "W", "own"), "urn:x:t/b": (9, "V", "heir"), "urn:x:t/c": (4, "kW", "own")}
    former = {("urn:x:t/a", "own"): [(0, "W")], ("urn:x:t/b", "own"): [(1, "V")], ("urn:x:t/c", "own"): [(2, "W")]}
    access._point_of = places.__getitem__
    access._former_of = lambda name, organisation: former.get((name, organisation), [])
    mask = access.mask(Product("p", "own", "P", tuple(places), CONTRACT, version=1))
    found = {number: mask.names[at] for number, at in enumerate(mask.local.tolist()) if at >= 0}
    assert found == {0: "urn:x:t/a", 7: "urn:x:t/a", 1: "urn:x:t/b", 4: "urn:x:t/c"}
    assert mask.units == ["W", "V", "kW"], "what was read in another unit is not passed off as in this one"
    places["urn:x:t/a"] = (8, "W", "own")
    assert access.mask(Product("p", "own", "P", tuple(places), CONTRACT, version=1)) is mask
    access.forget_masks()
    assert access.mask(Product("p", "own", "P", tuple(places), CONTRACT, version=1)).local[8] == 0
