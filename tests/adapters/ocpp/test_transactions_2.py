"""OCPP 2.0.1 and 2.1: transactions by their events, in order, out of order, twice, offline, and over a restart."""

import itertools

import msgspec
import pytest
from adapter_node import DictStore
from hypothesis import given
from hypothesis import strategies as st
from ocpp_bench import BOOT_2, ONE, STATION, TWO, at, binding, event, make_node, raw, serving, stored

from gridspine.adapters.ocpp.transaction import Record, Transaction, has_seen, with_seen


def record(node):
    return msgspec.json.decode(node.store.content[f"station/org/{STATION}"], type=Record)


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_a_station_from_boot_to_the_end_of_a_transaction(version):
    node = make_node()
    async with serving(node), raw(node, version) as point:
        assert (await point.call("BootNotification", BOOT_2))["status"] == "Accepted"
        status = {"timestamp": at(node), "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}
        assert await point.call("StatusNotification", status) == {}
        authorized = await point.call("Authorize", {"idToken": {"idToken": "CAFE01", "type": "ISO14443"}})
        assert authorized == {"idTokenInfo": {"status": "Accepted"}}
        started = await point.call("TransactionEvent", event(node, "Started", 0, 1, wh=100.5, token="CAFE01"))
        assert started == {"idTokenInfo": {"status": "Accepted"}}
        assert await point.call("TransactionEvent", event(node, "Updated", 1, 2, state="Charging", wh=200)) == {}
        assert await point.call("StatusNotification", status | {"timestamp": at(node, 3)}) == {}
        values = [
            {
                "timestamp": at(node, 4),
                "sampledValue": [
                    {"value": 3, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 3}},
                    {"value": 41, "measurand": "SoC", "location": "EV", "unitOfMeasure": {"unit": "Percent"}},
                    {"value": 1, "measurand": "Energy.Active.Export.Register", "unitOfMeasure": {"unit": "kWh"}},
                ],
            }
        ]
        assert await point.call("MeterValues", {"evseId": 1, "meterValue": values}) == {}
        assert await point.call("TransactionEvent", event(node, "Ended", 2, 5, wh=300, state="EVConnected")) == {}
        kept = record(node)
    assert stored(node, "connectorState") == [2, 3, 3, 2]
    assert stored(node, "activeEnergyImport") == [100.5, 200, 300]
    assert stored(node, "activePower") == [3000]
    assert stored(node, "activeEnergyExport") == [1000]
    assert stored(node, "stateOfCharge") == [41]
    (transaction,) = kept.recent
    assert (transaction.meter_start_wh, transaction.meter_stop_wh, transaction.token) == (100.5, 300, "CAFE01")
    assert transaction.seen == ((0, 2),)
    assert transaction.missing == 0


@pytest.mark.parametrize("turn", list(itertools.permutations(range(3))))
async def test_events_in_any_order_come_to_the_same_transaction(turn):
    node = make_node()
    events = [
        event(node, "Started", 0, -20, wh=100, token="CAFE01"),
        event(node, "Updated", 1, -10, wh=200, state="Charging"),
        event(node, "Ended", 2, 0, wh=300, transactionInfo={"transactionId": "t1", "stoppedReason": "Remote"}),
    ]
    async with serving(node), raw(node, "2.0.1") as point:
        for number in turn:
            await point.call("TransactionEvent", events[number])
        kept = record(node)
    (transaction,) = (*kept.open, *kept.recent)
    assert transaction in kept.recent
    assert (transaction.meter_start_wh, transaction.meter_stop_wh) == (100, 300)
    assert (transaction.reason, transaction.token, transaction.last) == ("Remote", "CAFE01", 2)
    assert sorted(stored(node, "activeEnergyImport")) == [100, 200, 300]


async def test_a_repetition_changes_nothing_and_a_gap_is_known():
    node = make_node()
    async with serving(node) as adapter, raw(node, "2.0.1") as point:
        await point.call("TransactionEvent", event(node, "Started", 0, -9, wh=100))
        await point.call("TransactionEvent", event(node, "Updated", 5, -5, state="Charging"))
        before = record(node)
        for _ in range(3):
            await point.call("TransactionEvent", event(node, "Updated", 5, -5, state="Charging"))
        assert record(node) == before
        assert before.open[0].missing == 4
        assert adapter.counters["repeated"] == 3
    assert stored(node, "connectorState") == [3]


async def test_what_was_measured_offline_is_backfill():
    node = make_node()
    async with serving(node), raw(node, "2.0.1") as point:
        await point.call("TransactionEvent", event(node, "Started", 0, -60, wh=100, offline=True))
        await point.call("TransactionEvent", event(node, "Updated", 1, 0, wh=200))
        kept = record(node)
    assert [(one.value, one.backfill) for one in node.stored] == [(100, True), (200, False)]
    assert kept.open[0].offline


async def test_a_restart_in_mid_transaction_loses_nothing():
    store = DictStore()
    first = make_node(store=store)
    async with serving(first), raw(first, "2.0.1") as point:
        await point.call("TransactionEvent", event(first, "Started", 0, -9, wh=100, token="CAFE01"))
    second = make_node(store=store)
    async with serving(second), raw(second, "2.0.1") as point:
        said = event(second, "Ended", 1, 0, wh=300)
        del said["evse"]  # it was told once
        await point.call("TransactionEvent", said)
        kept = record(second)
    assert [(one.meter_start_wh, one.meter_stop_wh, one.evse) for one in kept.recent] == [(100, 300, 1)]


async def test_two_evses_are_two_things_and_a_connector_may_be_the_only_one_that_counts():
    node = make_node(binding(), binding(TWO, evse=2, connector=2))
    async with serving(node), raw(node, "2.0.1") as point:
        for evse, connector in ((1, 1), (2, 1), (2, 2)):
            said = {"timestamp": at(node), "connectorStatus": "Faulted", "evseId": evse, "connectorId": connector}
            await point.call("StatusNotification", said)
    assert stored(node, "connectorState") == [9]
    assert stored(node, "connectorState", TWO) == [9]


async def test_a_multiplier_that_overflows_is_refused_and_kept():
    node = make_node()
    async with serving(node), raw(node, "2.0.1") as point:
        for multiplier in (400, -400, 13):
            sampled = [{"value": 5, "unitOfMeasure": {"unit": "Wh", "multiplier": multiplier}}]
            values = [{"timestamp": at(node), "sampledValue": sampled}]
            assert await point.call("MeterValues", {"evseId": 1, "meterValue": values}) == {}
    assert node.stored == []
    assert len(node.problems) == 3
    assert node.problems[0][1].name == f"{ONE}/activeEnergyImport"


async def test_events_of_2_1_that_are_not_answered_are_not_answered():
    node = make_node()
    async with serving(node) as adapter, raw(node, "2.1") as point:
        said = {"id": 1, "pending": 0, "basetime": at(node), "data": [{"t": 0, "v": "1"}]}
        await point.send(6, "s1", "NotifyPeriodicEventStream", said)
        await point.call("Heartbeat", {})  # nothing came before its answer
        assert adapter.counters["ignored"] == 1


@given(st.lists(st.integers(0, 60), max_size=80))
def test_what_was_seen_is_what_came(numbers):
    transaction = Transaction("t", 0)
    for number in numbers:
        transaction = with_seen(transaction, number)
    assert [number for number in range(61) if has_seen(transaction, number)] == sorted(set(numbers))
    assert transaction.last == max(numbers, default=-1)
    if numbers:
        assert transaction.missing == max(numbers) - min(numbers) + 1 - len(set(numbers))
    assert all(one[1] + 1 < two[0] for one, two in itertools.pairwise(transaction.seen))
