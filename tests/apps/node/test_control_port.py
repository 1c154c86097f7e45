"""The port by which adapters reach sites and programmes: in a source's name, with the policies' word, and its news."""

import asyncio
import gc
import time

import msgspec
import pytest
from hosted_node import hosting

from gridspine.energy.control import Control
from gridspine.energy.control_port import Controls, controls_of
from gridspine.energy.envelope import Envelope
from gridspine.energy.programme import Programme, SignalDescriptor
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal
from gridspine.energy.site import Site
from gridspine.infra.identity.token import Confirmation
from gridspine.kernel.errors import Conflict, Forbidden, NotFound, Unauthenticated
from gridspine.kernel.time import US
from gridspine.things.adapter import Source

NEW = {"id": "", "organisation": ""}


async def source_of(world, context, organisation, *roles):
    id_, _ = world.client(organisation, *roles)
    password = await asyncio.to_thread(world.node.identity.new_device_password, id_)
    found = await context.authorise(id_, password)
    assert found is not None
    return found


@pytest.fixture
async def hosted(tmp_path):
    async with hosting(tmp_path / "data") as made:
        yield made


def event_of(programme, **more):
    now_us = time.time_ns() // 1000
    interval = EventInterval(now_us + 60 * US, now_us + 120 * US, (Signal("PRICE", (0.3,)),))
    return ProgrammeEvent(programme=programme, title="E", intervals=(interval,), **NEW, **more)


async def test_a_source_does_what_its_roles_may_and_is_told_no_more(hosted) -> None:
    world, context = hosted
    controls: Controls = controls_of(context)
    operator = controls.of(await source_of(world, context, "northside-networks", "operator"))
    stranger = controls.of(await source_of(world, context, "brightfield", "operator"))
    nobody = controls.of(await source_of(world, context, "brightfield"))
    assert (operator.may("programme.manage"), operator.may("programme.enrol"), nobody.may("programme.read")) == (
        True, False, False,
    )  # fmt: skip
    closed = await operator.programmes.create(Programme(title="P", **NEW))
    assert closed.organisation == "northside-networks"
    assert list(operator.programmes.all()) == [closed]
    assert list(stranger.programmes.all()) == []
    with pytest.raises(Forbidden):
        nobody.programmes.all()
    for ask in (stranger.programmes.get, stranger.programmes.own, stranger.programmes.events, stranger.reports.all):
        with pytest.raises(NotFound):
            ask(closed.id)
    with pytest.raises(NotFound):
        await stranger.programmes.retire(closed.id)
    with pytest.raises(NotFound):
        await stranger.programmes.publish(event_of(closed.id))


async def test_a_proof_that_holds_no_more_opens_nothing(hosted) -> None:
    world, context = hosted
    source = await source_of(world, context, "northside-networks", "operator")
    token, life_s = context.issue_token(source)
    found = context.by_token(token)
    assert (found.principal, found.roles, life_s) == (source.principal, ("operator",), 300)
    assert (await world.op.get("/programmes", headers={"authorization": f"Bearer {token}x"})).status_code == 401
    await asyncio.to_thread(world.node.identity.new_device_password, source.principal)
    for ask in (lambda: controls_of(context).of(source), lambda: context.by_token(token)):
        with pytest.raises(Unauthenticated):
            ask()
    with pytest.raises(Unauthenticated):
        context.by_token("nonsense")


async def test_roles_only_narrow(hosted) -> None:
    world, context = hosted
    source = await source_of(world, context, "northside-networks", "operator", "auditor")
    narrow = type(source)(source.principal, source.organisation, source.session, source.epoch, ("auditor", "owner"))
    port = controls_of(context).of(narrow)
    assert port.may("programme.read")
    assert not port.may("programme.manage")
    assert not port.may("programme.enrol"), "owner is none of its own"
    assert context.by_token(context.issue_token(narrow)[0]).roles == ("auditor",)


async def test_a_token_that_is_bound_to_a_key_opens_nothing_without_its_proof(hosted) -> None:
    world, context = hosted
    source = await source_of(world, context, "northside-networks", "operator")
    identity = world.node.identity
    for bound in (Confirmation(jkt="thumbprint of a key"), Confirmation(x5t="thumbprint of a certificate")):
        token = identity.tokens.issue(
            source.principal, scope="operator", sid=source.session, epoch=source.epoch, cnf=bound
        )
        with pytest.raises(Unauthenticated, match="bound to a key"):
            context.by_token(token)


async def test_the_source_of_a_port_is_as_narrow_as_it_was_given(hosted) -> None:
    world, context = hosted
    source = await source_of(world, context, "northside-networks", "operator", "auditor")
    narrow = type(source)(source.principal, source.organisation, source.session, source.epoch, ("auditor",))
    again = controls_of(context).of(controls_of(context).of(narrow).source)
    assert not again.may("programme.manage")


async def test_events_and_enrolments_in_the_name_of_both_sides(hosted) -> None:
    world, context = hosted
    controls = controls_of(context)
    grid = controls.of(await source_of(world, context, "northside-networks", "operator"))
    home = controls.of(await source_of(world, context, "brightfield", "owner", "operator"))
    programme = await grid.programmes.create(
        Programme(title="P", open=True, signals=(SignalDescriptor("PRICE"),), modes=("importLimitW",), **NEW)
    )
    site = await home.sites.register(Site(title="Home", **NEW))
    now_us = time.time_ns() // 1000
    asked = await home.enrolments.ask(
        ProgrammeEnrolment(
            id="", owner="", organisation="", programme=programme.id, subject=site.id, kind="site", from_us=now_us,
            until_us=now_us + 3600 * US,
        )
    )  # fmt: skip
    assert asked.state == "requested"
    admitted = await grid.enrolments.decide(programme.id, asked.id, "admit", targets=("north",))
    assert (admitted.state, grid.enrolments.get(programme.id, asked.id)) == ("active", admitted)
    aimed = await grid.programmes.publish(event_of(programme.id, targets=("north",)))
    other = await grid.programmes.publish(event_of(programme.id, targets=("south",)))
    assert [one.id for one in home.programmes.events(programme.id)] == [aimed.id]
    with pytest.raises(NotFound):
        home.programmes.event(programme.id, other.id)
    left = await home.enrolments.opt_out(programme.id, asked.id, event=aimed.id)
    assert len(left.opt_outs) == 1
    assert (await home.enrolments.opt_in(programme.id, asked.id, event=aimed.id)).opt_outs == ()
    with pytest.raises(NotFound):
        await grid.enrolments.opt_out(programme.id, asked.id, event=aimed.id)
    assert (await grid.programmes.cancel(programme.id, aimed.id)).cancelled_us
    assert (await home.enrolments.decide(programme.id, asked.id, "withdraw")).state == "withdrawn"


async def test_envelopes_hold_and_versions_are_matched(hosted) -> None:
    world, context = hosted
    port = controls_of(context).of(await source_of(world, context, "northside-networks", "operator"))
    site = await port.sites.register(Site(title="S", **NEW))
    made = await port.sites.set_envelope(
        site.id, Envelope(id="", site="", organisation="", title="V", default=Control(import_limit_w=5000))
    )
    now_us = time.time_ns() // 1000
    assert port.sites.held(site.id, now_us, now_us + US)[0].tightest == Control(import_limit_w=5000)

    def never(version):
        raise Conflict(f"not {version}")

    for ask in (
        port.sites.set_envelope(site.id, made, match=never), port.sites.lift_envelope(site.id, made.id, match=never),
        port.sites.change(site.id, site, match=never), port.sites.remove(site.id, match=never),
    ):  # fmt: skip
        with pytest.raises(Conflict, match="not 1"):
            await ask
    assert (await port.sites.set_envelope(site.id, made)).version == 2
    await port.sites.remove(site.id)
    assert list(port.sites.all()) == []


async def test_changes_are_told_whoever_made_them(hosted) -> None:
    world, context = hosted
    changes = controls_of(context).changes()
    made = (await world.op.post("/programmes", json={"title": "P"})).json()["id"]
    assert (await world.op.delete(f"/programmes/{made}")).status_code == 204
    async with asyncio.timeout(60):
        told = [await anext(changes) for _ in range(2)]
    assert [(one.type, one.document.id, one.actor, one.removed) for one in told] == [
        ("programme.registered", made, world.op_id, False), ("programme.retired", made, world.op_id, False),
    ]  # fmt: skip


async def test_a_listener_that_is_too_slow_is_let_go(hosted, monkeypatch) -> None:
    world, context = hosted
    monkeypatch.setattr("gridspine.apps.node.control_port.MAX_WAITING", 1)
    changes = controls_of(context).changes()
    for title in "ab":
        assert (await world.op.post("/programmes", json={"title": title})).status_code == 201
    assert (await anext(changes)).document.title == "a"
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
    assert world.node.controls.listeners == []


async def test_the_private_store_is_read_whole(hosted) -> None:
    _, context = hosted
    await context.store.put("b/1", b"x")
    await context.store.put("a", b"y")
    await context.store.put("b/1", b"z")
    assert await context.store.items() == {"a": b"y", "b/1": b"z"}
    await context.store.put("a", None)
    assert await context.store.items() == {"b/1": b"z"}


async def test_who_forgets_its_listener_is_told_no_more(hosted) -> None:
    world, context = hosted
    controls: Controls = controls_of(context)
    listeners = world.node.controls.listeners
    before = len(listeners)
    forgotten = controls.changes()
    assert len(listeners) == before + 1
    del forgotten
    gc.collect()
    port = controls.of(await source_of(world, context, "northside-networks", "operator"))
    await port.programmes.create(Programme(title="P", **NEW))
    assert len(listeners) == before


async def test_an_adapter_acts_for_a_thing_in_the_name_of_its_application(hosted) -> None:
    world, context = hosted
    controls: Controls = controls_of(context)
    thing = await world.thing("urn:example:follower")
    source = Source(f"adapter:probe:{thing}", "northside-networks", f"adapter:probe:{thing}")
    for devices, adapter in (([], "probe"), (["urn:example:nobody"], "probe")):
        await change(world, thing, devices=devices, adapter=adapter)
        with pytest.raises(Unauthenticated):
            controls.of(source)
    id_, _ = world.client("northside-networks", "administrator", "operator")
    await change(world, thing, devices=[id_], adapter="probe")
    assert controls.of(source).may("programme.manage")
    assert controls.of(source).source.roles == ("operator",), "no more than owner and operator"
    others = msgspec.structs.replace(source, session=f"adapter:other:{thing}", principal=f"adapter:other:{thing}")
    with pytest.raises(Unauthenticated):
        controls.of(others)
    await change(world, thing, devices=[id_], adapter="other")
    with pytest.raises(Unauthenticated):
        controls.of(source)


async def change(world, thing, devices, adapter):
    things = world.node.things
    expected, fields = things.get(thing).version, {"devices": tuple(devices), "adapter": adapter}
    return await things.change(thing, actor="test", expected=expected, **fields)
