"""What others hear of transactions: whose they are and what they took; and that each Thing has its own."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from adapter_node import DictStore
from ocpp_bench import ONE, TWO, at, binding, event, make_node, raw, serving

from gridspine.energy.charging import TokenVerdict
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US, format_rfc3339

OK = {"status": "Accepted"}
YEAR_S = 366 * 86_400


class Roaming:
    """Hears of sessions, and knows every token at the Things that it ``knows``."""

    def __init__(self):
        self.heard, self.asked, self.where, self.beside, self.anywhere = [], [], [], [], []
        self.knows = {ONE, TWO}

    async def report(self, session):
        self.heard.append(session)

    async def authorise(self, thing, token, kind="", beside=(), *, anywhere=False):
        self.asked.append(token)
        self.where.append(thing)
        self.beside.append(beside)
        self.anywhere.append(anywhere)
        return TokenVerdict("Accepted") if thing in self.knows else None


def roaming(*bindings, clock=None, store=None, **settings):
    node = make_node(*bindings, settings=settings or None, clock=clock, store=store)
    port = Roaming()
    node.given_controls = SimpleNamespace(charging=port)
    return node, port


async def test_a_transaction_is_of_who_began_it_also_where_its_end_comes_first():
    node, port = roaming()
    async with serving(node), raw(node, "2.0.1") as point:
        await point.call("TransactionEvent", event(node, "Ended", 2, 60, wh=300, token="FRIEND"))
        await point.call("TransactionEvent", event(node, "Updated", 1, 30, token="OTHER"))
        await point.call("TransactionEvent", event(node, "Started", 0, 0, wh=100, token="DRIVER"))
    assert (port.heard[-1].token, port.heard[-1].energy_wh) == ("DRIVER", 200)


async def test_registers_are_told_by_their_times_and_not_by_their_order():
    node, port = roaming()

    def values(*rows):
        return [{"timestamp": at(node, at_s), "sampledValue": [{"value": wh}]} for at_s, wh in rows]

    async with serving(node), raw(node, "2.0.1") as point:
        begun = event(node, "Started", 0, 0, token="T", meterValue=values((5, 110), (0, 100)))
        await point.call("TransactionEvent", begun)
        ended = event(node, "Ended", 1, 60, meterValue=values((60, 300), (30, 200), (0, 100)))
        await point.call("TransactionEvent", ended)
    assert (port.heard[-1].meter_start_wh, port.heard[-1].meter_stop_wh) == (100, 300)


EVSE_2 = {"id": 2, "connectorId": 1}


def nowhere(said):
    """Return an event that does not say at which EVSE."""
    return {name: one for name, one in said.items() if name != "evse"}


async def test_a_token_before_the_cable_has_its_energy_and_is_asked_for_where_it_charges():
    """Shown at a reader that several EVSEs share (TxStartPoint *Authorized*)."""
    node, port = roaming(binding(), binding(TWO, evse=2))
    async with serving(node), raw(node, "2.0.1") as point:
        await point.call("TransactionEvent", nowhere(event(node, "Started", 0, 0, token="ROAM")))
        port.asked.clear()
        port.where.clear()
        for number, at_s, wh in ((1, 5, 1000), (2, 10, 1500)):
            await point.call("TransactionEvent", event(node, "Updated", number, at_s, wh=wh, evse=EVSE_2))
        await point.call("TransactionEvent", event(node, "Ended", 3, 60, wh=9000, evse=EVSE_2))
        (shown,) = (await node.request(TWO, "transactions", {}))[1]["transactions"]
    assert port.where == [TWO]
    assert (port.asked, port.heard[-1].thing, port.heard[-1].energy_wh) == (["ROAM"], TWO, 8000)
    assert (shown["energyWh"], shown["doubts"]) == (8000, ["start-read-late"])


@pytest.mark.parametrize(("of_node", "answered"), [
    ({}, {"idTokenInfo": {"status": "Invalid"}}), ({"remoteStartId": 7}, {}),
])  # fmt: skip
async def test_a_token_that_may_not_charge_where_its_cable_is_then_put_in_is_told_so(of_node, answered):
    """Unless the node itself started it: what it asked for is not ended by that."""
    node, port = roaming(binding(), binding(TWO, evse=2))
    port.knows = {ONE}
    async with serving(node), raw(node, "2.0.1") as point:
        started = nowhere(event(node, "Started", 0, 0, token="ROAM"))
        started["transactionInfo"] |= of_node
        begun = await point.call("TransactionEvent", started)
        placed = await point.call("TransactionEvent", event(node, "Updated", 1, 5, evse=EVSE_2))
        again = await point.call("TransactionEvent", event(node, "Updated", 2, 9, evse=EVSE_2))
    assert begun == {"idTokenInfo": {"status": "Accepted"}}
    assert (placed, again) == (answered, {})


def begin(at_, wh):
    return {"timestamp": at_, "sampledValue": [{"value": wh, "context": "Transaction.Begin"}]}


@pytest.mark.parametrize("turn", list(itertools.permutations(range(3))))
@pytest.mark.parametrize(("said_at", "energy_wh", "doubts"), [("Updated", 8500, None), ("Ended", 8500, None),
    ("", 8000, ["start-read-late"])])  # fmt: skip
async def test_the_register_at_the_start_is_what_is_said_to_be_it_or_what_was_read_first(
    turn, said_at, energy_wh, doubts
):
    node, port = roaming()
    events = [
        event(node, "Started", 0, 0, token="T"),
        event(node, "Updated", 1, 5, wh=1000),
        event(node, "Ended", 2, 60, wh=9000),
    ]
    for said in events:
        if said["eventType"] == said_at:
            said["meterValue"].append(begin(at(node), 500))
    async with serving(node), raw(node, "2.0.1") as point:
        for number in turn:
            await point.call("TransactionEvent", events[number])
        (shown,) = (await node.request(ONE, "transactions", {}))[1]["transactions"]
    assert (port.heard[-1].energy_wh, shown.get("doubts")) == (energy_wh, doubts)


async def test_what_a_transaction_ended_with_alone_is_no_beginning():
    node, port = roaming()
    async with serving(node), raw(node, "2.0.1") as point:
        await point.call("TransactionEvent", event(node, "Started", 0, 0, token="T"))
        await point.call("TransactionEvent", event(node, "Ended", 1, 60, wh=9000))
    assert (port.heard[-1].meter_start_wh, port.heard[-1].energy_wh) == (None, None)


@pytest.mark.parametrize(("began_s", "doubts", "energy_wh"), [
    (-YEAR_S - 3600, ["clock-behind"], None), (-YEAR_S + 3600, [], 2500),
])  # fmt: skip
async def test_what_began_with_a_clock_that_was_never_set_is_no_bill(began_s, doubts, energy_wh):
    """It would be billed for years."""
    node, port = roaming()
    async with serving(node), raw(node) as point:
        begin = {"connectorId": 1, "idTag": "T", "meterStart": 1000, "timestamp": at(node, began_s)}
        id_ = (await point.call("StartTransaction", begin))["transactionId"]
        await point.call("StopTransaction", {"transactionId": id_, "meterStop": 3500, "timestamp": at(node)})
        (shown,) = (await node.request(ONE, "transactions", {}))[1]["transactions"]
    assert (shown.get("doubts", []), port.heard[-1].energy_wh) == (doubts, energy_wh)
    assert port.heard[-1].ended_us is not None
    assert abs(port.heard[-1].started_us - node.clock.now_us() - began_s * US) < 60 * US


@pytest.mark.parametrize(("away", "says", "version", "doubts"), [
    # It was cut off for a day, and one hour into that a transaction began: at its clock, by hours from then.
    (24, 1, "1.6", []), (24, 1, "2.0.1", []), (24, 0, "1.6", []),
    (24, -3, "1.6", ["clock-behind"]), (24, -3, "2.0.1", ["clock-behind"]), (1, -2_000, "1.6", ["clock-behind"]),
])  # fmt: skip
async def test_what_is_new_began_after_its_charge_point_was_heard_last(away, says, version, doubts):
    """A charge point without a clock comes up at its firmware's date, or at its last stop."""
    clock = VirtualClock()
    store = DictStore()
    await heard(make_node(clock=clock, store=store), clock)
    left_us = clock.now_us()
    clock.step_wall(away * 3600)
    node, port = roaming(clock=clock, store=store)
    said_at = format_rfc3339(left_us + says * 3600 * US)
    async with serving(node), raw(node, version) as point:
        if version == "1.6":
            start = {"connectorId": 1, "idTag": "T", "meterStart": 1000, "timestamp": said_at}
            id_ = (await point.call("StartTransaction", start))["transactionId"]
            await point.call("StopTransaction", {"transactionId": id_, "meterStop": 3500, "timestamp": at(node)})
        else:
            start = event(node, "Started", 0, token="T", timestamp=said_at, wh=1000)
            start["meterValue"][0]["timestamp"] = said_at
            await point.call("TransactionEvent", start)
            await point.call("TransactionEvent", event(node, "Ended", 1, 0, wh=3500))
        (shown,) = (await node.request(ONE, "transactions", {}))[1]["transactions"]
    assert (shown.get("doubts", []), port.heard[-1].energy_wh) == (doubts, None if doubts else 2500)


async def heard(node, clock, *, timestamp_s=0, again_s=0):
    """Have a charge point say the state of its connector, and twenty minutes later that it is there."""
    async with serving(node), raw(node) as point:
        for said_s in (timestamp_s, again_s):
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": at(node, said_s)}
            await point.call("StatusNotification", status)
        clock.step_wall(1200)
        await point.call("Heartbeat", {})


@pytest.mark.parametrize("said", [{"timestamp_s": -7200, "again_s": -7200}, {"again_s": -600}])
async def test_a_charge_point_whose_clock_is_behind_all_the_time_or_that_tells_of_before_was_not_heard(said):
    """Its times are all as wrong, or it may have more to tell: what it says of its start stands."""
    clock = VirtualClock()
    store = DictStore()
    await heard(make_node(clock=clock, store=store), clock, **said)
    node, port = roaming(clock=clock, store=store)
    async with serving(node), raw(node) as point:
        start = {"connectorId": 1, "idTag": "T", "meterStart": 1000, "timestamp": at(node, -7000)}
        id_ = (await point.call("StartTransaction", start))["transactionId"]
        await point.call("StopTransaction", {"transactionId": id_, "meterStop": 3500, "timestamp": at(node)})
    assert port.heard[-1].energy_wh == 2500


async def test_what_began_before_its_charge_point_was_heard_last_and_was_told_of_then_stands():
    clock = VirtualClock()
    store = DictStore()
    first = make_node(clock=clock, store=store)
    async with serving(first), raw(first) as point:
        start = {"connectorId": 1, "idTag": "T", "meterStart": 1000, "timestamp": at(first)}
        id_ = (await point.call("StartTransaction", start))["transactionId"]
        clock.step_wall(3600)
        await point.call("Heartbeat", {})
    node, port = roaming(clock=clock, store=store)
    async with serving(node), raw(node) as point:
        await point.call("StartTransaction", start)
        await point.call("StopTransaction", {"transactionId": id_, "meterStop": 3500, "timestamp": at(node)})
    assert port.heard[-1].energy_wh == 2500


async def test_a_token_of_the_own_list_is_nobody_elses_also_as_another_kind():
    node, port = roaming(tokens=[{"id": "CAFE01", "type": "eMAID"}])
    async with serving(node), raw(node, "2.0.1") as point:
        told = [
            (await point.call("Authorize", {"idToken": {"idToken": id_, "type": "ISO14443"}}))["idTokenInfo"]["status"]
            for id_ in ("cafe01", "OTHER")
        ]
    assert (told, port.asked) == (["Invalid", "Accepted"], ["OTHER"])


@pytest.mark.parametrize("version", ["1.6", "2.1"])
async def test_a_things_actions_are_for_its_own_transactions(version):
    node = make_node(binding(), binding(TWO, evse=2))
    async with serving(node), raw(node, version) as point:
        if version == "1.6":
            begin = {"connectorId": 1, "idTag": "CAFE01", "meterStart": 0, "timestamp": at(node)}
            id_ = str((await point.call("StartTransaction", begin))["transactionId"])
        else:
            await point.call("TransactionEvent", event(node, "Started", 0))
            id_ = "t1"
        state, _, why = await node.request(TWO, "remoteStop", {"transaction": id_})
        assert (state, "none of this charge point's here" in why) == ("refused", True)
        if version == "2.1":
            asked = {"transaction": id_, "modes": ["DC"]}
            assert (await node.request(TWO, "allowEnergyTransfer", asked))[0] == "refused"
        assert point.called == []
        point.answers = {"RemoteStopTransaction": OK, "RequestStopTransaction": OK}
        stopped = asyncio.create_task(node.request(ONE, "remoteStop", {"transaction": id_}))
        await point.answer_next()
        assert await stopped == ("done", {"transaction": id_}, "")


async def test_of_a_token_that_is_blocked_here_and_allowed_elsewhere_the_local_list_says_blocked():
    tokens = [{"id": "A", "status": "Blocked", "organisation": "org"}, {"id": "a"}, {"id": "B", "organisation": "x"}]
    node = make_node(settings={"tokens": tokens})
    async with serving(node), raw(node) as point:
        point.answers = {"GetLocalListVersion": {"listVersion": 0}, "SendLocalList": OK}
        asked = asyncio.create_task(node.request(ONE, "sendLocalList"))
        for _ in range(2):
            await point.answer_next()
        await asked
    assert point.called[-1][1]["localAuthorizationList"] == [{"idTag": "A", "idTagInfo": {"status": "Blocked"}}]


async def test_what_is_counted_of_evses_is_bounded_by_its_things():
    node = make_node()
    values = [{"timestamp": at(node), "sampledValue": [{"value": 1}]}]
    async with serving(node) as adapter, raw(node, "2.0.1") as point:
        for evse in (1, 1, 7, 8, 9):
            await point.call("MeterValues", {"evseId": evse, "meterValue": values})
        found = adapter.server.live(ONE)
        assert found is not None
        assert found[0].metered == {1: 2}


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_token_that_was_started_with_pays_at_whichever_evse_it_charges(version):
    """Where it was started it charges unasked; at the others of its charge point like any other token."""
    node, port = roaming(binding(), binding(TWO, evse=2))

    async def begins(point, id_, evse):
        if version == "1.6":
            said = {"connectorId": evse, "idTag": "ROAM", "meterStart": 0, "timestamp": at(node, evse)}
            return (await point.call("StartTransaction", said))["idTagInfo"]["status"]
        said = event(node, "Started", 0, id=id_, token="ROAM", evse={"id": evse, "connectorId": 1})
        return (await point.call("TransactionEvent", said))["idTokenInfo"]["status"]

    async with serving(node), raw(node, version) as point:
        point.answers = {"RemoteStartTransaction": OK, "RequestStartTransaction": OK}
        asked = asyncio.create_task(node.request(ONE, "remoteStart", {"token": "ROAM"}))
        await point.answer_next()
        await asked
        assert await begins(point, "t1", 1) == "Accepted"
        assert port.where == []
        assert await begins(point, "t2", 2) == "Accepted"
        assert (port.where, port.beside) == ([TWO], [(ONE,)])
        assert [(one.thing, one.beside) for one in port.heard] == [(ONE, (TWO,)), (TWO, (ONE,))]
        port.knows = {ONE}
        assert await begins(point, "t3", 2) == "Invalid"


@pytest.mark.parametrize(("version", "evses", "anywhere"), [("1.6", 2, True), ("2.1", 2, True), ("1.6", 1, False)])
async def test_where_a_token_will_charge_is_not_said_before_it_is_known(version, evses, anywhere):
    node, port = roaming(*[binding(), binding(TWO, evse=2)][:evses])
    async with serving(node), raw(node, version) as point:
        kind = {"idToken": {"idToken": "ROAM", "type": "ISO14443"}}
        await point.call("Authorize", {"idTag": "ROAM"} if version == "1.6" else kind)
    assert port.anywhere == [anywhere]
