"""Control rules: what they may do, who signs them, and that a bad one gives way."""

import asyncio

import msgspec
import pytest
from running_node import until

from gridspine.apps.edge.wire import SignedRule
from gridspine.kernel.errors import Invalid
from gridspine.things.control_rule import ControlRule, parse_rule, rule_body, split_point

BATTERY_ID = "urn:example:battery"
SETPOINT, POWER = f"{BATTERY_ID}/activePowerSetpoint", f"{BATTERY_ID}/activePower"
STEADY = f"def control(inputs, state, now_s):\n    return {{'setpoints': {{'{SETPOINT}': 250}}}}\n"
FAULTY = "def control(inputs, state, now_s):\n    return 1 // 0\n"
COUNTING = f"""
def control(inputs, state, now_s):
    n = state.get("n", 0) + 1
    reading = inputs["{POWER}"]
    if reading == None or not reading["good"]:
        return {{"state": {{"n": n}}}}
    return {{"setpoints": {{"{SETPOINT}": reading["value"] / 2}}, "state": {{"n": n}}}}
"""


def rule(text=STEADY, **more):
    return {"name": "steady", "text": text, "outputs": [SETPOINT], "inputs": [POWER], "everyS": 1, "leaseS": 2} | more


async def publish(beside, text=STEADY, **more):
    return await beside.world.op.post(f"/edges/{beside.id}/rules", json=rule(text, **more))


def report(edge):
    reports = edge.rules.reports()
    return reports[0] if reports else None


async def test_a_rule_asks_for_leases_from_what_the_edge_reads(beside):
    await beside.thing()
    edge = await beside.start()
    assert (await publish(beside, COUNTING)).status_code == 201
    await until(lambda: report(edge) and report(edge).runs)
    assert not beside.wire.orders
    await beside.wire.read((POWER, beside.clock.now_us(), 800.0))
    await until(lambda: beside.wire.value == 400)
    assert report(edge).state == "running"
    command = await beside.command(1000)  # the owner goes before a rule
    await until(lambda: beside.wire.value == 1000)
    await beside.becomes(command, "acknowledged")
    await beside.world.op.delete(f"/edges/{beside.id}/rules/steady")
    await until(lambda: not edge.rules.reports())


async def test_a_rule_goes_on_without_the_node_and_after_a_cut(beside, world):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await until(lambda: beside.wire.value == 250)
    await edge.stop()
    beside.edge = None
    await beside.start(node="http://127.0.0.1:9")
    await until(lambda: len(beside.wire.orders) >= 2)
    assert beside.wire.value == 250


async def test_a_version_that_faults_gives_way_to_the_one_before(beside):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await until(lambda: beside.wire.value == 250)
    await publish(beside, FAULTY)
    await until(lambda: report(edge).state == "rolled-back")
    assert report(edge).version == 1
    assert "division by zero" in report(edge).detail
    await until(lambda: report(edge).runs)
    shown = (await beside.world.op.get(f"/edges/{beside.id}/rules")).json()
    assert shown[0]["version"] == 2
    async with asyncio.timeout(60):
        while (await beside.view())["rules"][0]["state"] != "rolled-back":
            await asyncio.sleep(0.05)
    await publish(beside, STEADY.replace("250", "350"))
    await until(lambda: beside.wire.value == 350)
    assert report(edge).version == 3


async def test_versions_that_nobody_runs_take_no_place_in_the_child(beside):
    await beside.thing()
    edge = await beside.start()
    for value in (250, 260, 270):
        await publish(beside, STEADY.replace("250", str(value)))
        await until(lambda value=value: beside.wire.value == value)
    assert len(edge.rules._runner._programs) == 1
    await beside.world.op.delete(f"/edges/{beside.id}/rules/steady")
    await until(lambda: not edge.rules.reports())
    await until(lambda: not edge.rules._runner._programs)


async def test_a_rule_that_only_faults_is_stopped(beside):
    await beside.thing()
    edge = await beside.start()
    await publish(beside, FAULTY)
    await until(lambda: report(edge) and report(edge).state == "stopped")
    assert (report(edge).version, report(edge).faults) == (0, 3)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {'setpoints': {'urn:example:other/activePowerSetpoint': 1}}", "none of its outputs"),
        ("return {'setpoints': {'" + SETPOINT + "': 'full'}}", "number"),
        ("return {'setpoints': {'" + SETPOINT + "': 1e9}}", "beyond"),
        ("return [1]", "returns a dict"),
        ("return {'state': 'x' * 100000}", "bytes"),
        ("a = [1]\n    for i in range(60): a = a + a\n    return {}", "memory"),
        ("return {'state': max(range(1999999999 + len(inputs)))}", "within"),
        ("t = 0\n    for i in range(10000000): t += i\n    return {}", "steps"),
    ],
)
async def test_what_a_rule_may_not_do_is_a_fault(beside, body, said):
    await beside.thing()
    edge = await beside.start()
    answer = await publish(beside, f"def control(inputs, state, now_s):\n    {body}\n")
    assert answer.status_code == 201, answer.text
    await until(lambda: report(edge) and report(edge).faults)
    assert said in report(edge).detail
    assert not beside.wire.orders


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"text": "def control(inputs, state, now_s):\n    return (\n"}, "line"),
        ({"text": "x = 1\n"}, "control(inputs"),
        ({"outputs": ["urn:example:other/activePowerSetpoint"]}, "no such point"),
        ({"outputs": [POWER]}, "takes no set-points"),
        ({"inputs": [f"{BATTERY_ID}/nothing"]}, "no such point"),
        ({"outputs": []}, "outputs"),
        ({"everyS": 0.01}, "everyS"),
        ({"leaseS": 0.5}, "leaseS"),
        ({"name": "a/b"}, "name"),
        ({"maxSteps": 10**9}, "maxSteps"),
    ],
)
async def test_a_rule_that_is_none_is_refused_at_the_node(beside, more, said):
    await beside.thing()
    answer = await beside.world.op.post(f"/edges/{beside.id}/rules", json=rule() | more)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_versions_are_kept_and_the_one_before_comes_back(beside):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await publish(beside, STEADY.replace("250", "350"))
    await until(lambda: beside.wire.value == 350)
    answer = await beside.world.op.post(f"/edges/{beside.id}/rules/steady/roll-back")
    assert answer.json()["version"] == 3
    await until(lambda: beside.wire.value == 250)
    assert report(edge).version == 3
    assert (await beside.world.op.delete(f"/edges/{beside.id}/rules/nothing")).status_code == 404


async def test_only_the_nodes_signature_counts(beside, world):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await until(lambda: beside.wire.value == 250)
    (signed,) = world.node.edges.rules.signed(beside.id, {BATTERY_ID})
    forged = SignedRule(signed.body.replace("250", "999"), signed.signature)
    await edge.rules.take((forged,))
    running, refused = edge.rules.reports()
    assert (running.state, running.version) == ("running", 1), "what was good goes on"
    assert refused.state == "refused" and "not signed" in refused.detail
    assert 999 not in [order.value for order in beside.wire.orders]
    other = msgspec.structs.replace(parse_rule(signed.body), edge="urn:example:other")
    with pytest.raises(Invalid, match="another edge"):
        edge.rules._read(world.node.edges.rules._sign(other))


async def test_a_key_once_seen_is_pinned(beside, world):
    await beside.thing()
    edge = await beside.start()
    await publish(beside)
    await until(lambda: beside.wire.value == 250)
    key = dict(edge.rules._key)
    await edge.rules.trust({"crv": "Ed25519", "kty": "OKP", "x": "A" * 43})
    assert edge.rules._key == key
    await beside.start(node_key="somebody-else")
    await until(lambda: beside.edge.link.connected)
    await until(lambda: beside.edge.rules.reports())
    await beside.edge.rules.trust(world.node.edges.rules.public_key())


async def test_a_restarted_node_runs_the_same_rules(beside, world):
    await beside.thing()
    await publish(beside)
    again = type(world.node.edges.rules)(world.node.registry, world.node.identity.custody, world.node.clock)
    await asyncio.to_thread(again.load)
    assert again.signed(beside.id, {BATTERY_ID}) == world.node.edges.rules.signed(beside.id, {BATTERY_ID})
    assert again.signed(beside.id, set()) == ()


def test_a_rule_reads_back_as_it_was_written():
    made = ControlRule("n", 1, "urn:example:e", "o", "t", ("urn:example:a/b",), ("urn:example:c/d",))
    assert parse_rule(rule_body(made)) == made
    assert made.things == {"urn:example:a", "urn:example:c"}
    for body in ("", "[]", "{}", "[" * 100_000):
        with pytest.raises(Invalid):
            parse_rule(body)
    with pytest.raises(Invalid):
        split_point("nothing")
