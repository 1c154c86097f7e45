"""OCPP 1.6: a charge point from its boot to the end of a transaction, and what goes wrong on the way."""

import json
from types import SimpleNamespace

import msgspec
import pytest
from adapter_node import DictStore
from ocpp_bench import (
    BOOT_16,
    DEVICE,
    ONE,
    STATION,
    TWO,
    at,
    binding,
    make_node,
    raw,
    serving,
    stored,
)
from websockets.exceptions import ConnectionClosed

from gridspine.adapters.ocpp.transaction import Record, Transaction
from gridspine.kernel.errors import DiskFull, Overloaded, Unavailable
from gridspine.kernel.time import parse_rfc3339


def record(node, station=STATION):
    return msgspec.json.decode(node.store.content[f"station/org/{station}"], type=Record)


def start(node, at_s=0.0, **more):
    return {"connectorId": 1, "idTag": "CAFE01", "meterStart": 1000, "timestamp": at(node, at_s)} | more


def stop(node, id_, at_s=0.0, **more):
    return {"transactionId": id_, "meterStop": 3500, "timestamp": at(node, at_s)} | more


async def test_a_charge_point_from_boot_to_the_end_of_a_transaction():
    node = make_node()
    async with serving(node), raw(node) as point:
        boot = await point.call("BootNotification", BOOT_16)
        assert boot["status"] == "Accepted"
        assert boot["interval"] == 300
        assert parse_rfc3339(boot["currentTime"]) <= node.clock.now_us()
        assert parse_rfc3339((await point.call("Heartbeat", {}))["currentTime"]) <= node.clock.now_us()
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Preparing", "timestamp": at(node)}
        assert await point.call("StatusNotification", status) == {}
        assert await point.call("Authorize", {"idTag": "cafe01"}) == {"idTagInfo": {"status": "Accepted"}}
        begun = await point.call("StartTransaction", start(node, 1))
        assert begun["idTagInfo"] == {"status": "Accepted"}
        id_ = begun["transactionId"]
        sampled = [
            {"value": "2250.5", "unit": "Wh", "context": "Sample.Periodic"},
            {"value": "7.2", "unit": "kW", "measurand": "Power.Active.Import"},
        ]
        values = [{"timestamp": at(node, 2), "sampledValue": sampled}]
        assert await point.call("MeterValues", {"connectorId": 1, "transactionId": id_, "meterValue": values}) == {}
        ended = await point.call("StopTransaction", stop(node, id_, 3, idTag="CAFE01", reason="EVDisconnected"))
        assert ended == {"idTagInfo": {"status": "Accepted"}}
        kept = record(node)
    assert stored(node, "connectorState") == [2]
    assert stored(node, "activeEnergyImport") == [1000, 2250.5, 3500]
    assert stored(node, "activePower") == [7200]
    assert {one.source.principal for one in node.stored} == {DEVICE}
    assert not any(one.backfill for one in node.stored)
    assert kept.open == ()
    (transaction,) = kept.recent
    assert (transaction.meter_start_wh, transaction.meter_stop_wh) == (1000, 3500)
    assert transaction.reason == "EVDisconnected"
    assert json.loads(node.store.content[f"transaction/org/{STATION}/0"])["token"] == "CAFE01"


async def test_a_restart_in_mid_transaction_loses_nothing_and_repeats_no_id():
    store = DictStore()
    first = make_node(store=store)
    words = start(first)
    async with serving(first), raw(first) as point:
        id_ = (await point.call("StartTransaction", words))["transactionId"]
    second = make_node(store=store)
    async with serving(second), raw(second) as point:
        # Its answer may have been lost: the charge point asks again, and gets the same transaction.
        assert (await point.call("StartTransaction", words))["transactionId"] == id_
        other = (await point.call("StartTransaction", start(second, 60, connectorId=2)))["transactionId"]
        assert other > id_
        await point.call("StopTransaction", stop(second, id_, 70))
        kept = record(second)
    assert stored(second, "activeEnergyImport") == [3500]
    assert [one.id for one in kept.open] == [str(other)]
    assert [(one.id, one.meter_start_wh) for one in kept.recent] == [(str(id_), 1000)]


class Listening:
    """A charging port that hears of sessions and knows no tokens; what it refuses harms no charge point."""

    def __init__(self, refuses=False):
        self.heard, self.refuses = [], refuses

    async def report(self, session):
        if self.refuses and session.again:
            raise Unavailable("not now")
        self.heard.append((session.id, session.energy_wh, session.again))

    async def authorise(self, thing, token, kind="", beside=(), *, anywhere=False):
        return None


async def test_what_nobody_may_have_heard_of_before_a_stop_is_told_of_again():
    store = DictStore()
    first = make_node(store=store)
    async with serving(first), raw(first) as point:  # and nobody hears
        id_ = (await point.call("StartTransaction", start(first)))["transactionId"]
        await point.call("StopTransaction", stop(first, id_, 70))
    for refuses, heard in ((False, [(str(id_), 2500.0, True)]), (True, [])):
        node = make_node(store=store)
        port = Listening(refuses)
        node.given_controls = SimpleNamespace(charging=port)
        async with serving(node), raw(node) as point:
            await point.call("Heartbeat", {})
            assert port.heard == heard
            other = (await point.call("StartTransaction", start(node, 90, idTag=f"T{refuses}")))["transactionId"]
            assert port.heard[-1] == (str(other), None, False)
            await point.call("StopTransaction", stop(node, other, 100, meterStop=1000))


async def test_offline_messages_come_late_twice_and_in_any_order():
    node = make_node()
    async with serving(node), raw(node) as point:
        words = start(node, -7200)
        id_ = (await point.call("StartTransaction", words))["transactionId"]
        values = [{"timestamp": at(node, -5000), "sampledValue": [{"value": "2000"}]}]
        for _ in range(2):
            await point.call("StopTransaction", stop(node, id_, -3600, transactionData=values))
        assert (await point.call("StartTransaction", words))["transactionId"] == id_
        await point.call("MeterValues", {"connectorId": 1, "transactionId": id_, "meterValue": values})
        kept = record(node)
    assert all(one.backfill for one in node.stored)
    assert set(stored(node, "activeEnergyImport")) == {1000, 2000, 3500}
    assert len(kept.recent) == 1
    assert kept.open == ()


async def test_a_stop_of_an_unknown_transaction_is_kept_and_touches_nobody_elses():
    store = DictStore()
    node = make_node(binding(), binding(TWO, station="CP002"), store=store)
    async with serving(node), raw(node) as point, raw(node, station="CP002") as liar:
        id_ = (await point.call("StartTransaction", start(node)))["transactionId"]
        assert await liar.call("StopTransaction", stop(node, id_, meterStop=9)) == {}
        assert [one.id for one in record(node).open] == [str(id_)]
        (lie,) = record(node, "CP002").recent
    assert lie.meter_start_wh is None
    assert stored(node, "activeEnergyImport", TWO) == [9]
    assert stored(node, "activeEnergyImport") == [1000]


async def test_nothing_is_answered_before_it_is_durable():
    node = make_node()
    async with serving(node), raw(node) as point:
        node.gate.clear()
        await point.send(2, "1", "StartTransaction", start(node))
        await node.until(lambda: node.waiting)
        assert f"station/org/{STATION}" not in node.store.content
        await point.send(2, "2", "Heartbeat", {})  # it waits its turn
        node.gate.set()
        assert (await point.receive())[1] == "1"
        assert record(node).open
        assert (await point.receive())[1] == "2"


@pytest.mark.parametrize("error", [Overloaded("busy", retry_after_s=1), DiskFull("full"), Unavailable("stopping")])
async def test_what_cannot_be_kept_is_not_answered_and_comes_again(error):
    node = make_node(settings={"hold_off_s": 0.0})
    words = start(node)
    async with serving(node) as adapter:
        async with raw(node) as point:
            node.refusal = error
            await point.send(2, "1", "StartTransaction", words)
            with pytest.raises(ConnectionClosed) as closed:
                await point.receive()
            assert closed.value.rcvd.code == 1013
        assert not any(key.startswith("station/") for key in node.store.content)
        node.refusal = None
        await node.until(lambda: not adapter.server.connected)
        adapter.server._admission._away_until_us.clear()
        async with raw(node) as point:
            assert (await point.call("StartTransaction", words))["transactionId"]
        assert adapter.counters["turned_away"] == 1


async def test_tokens_are_judged_by_the_list():
    node = make_node()
    async with serving(node), raw(node) as point:
        said = {tag: (await point.call("Authorize", {"idTag": tag}))["idTagInfo"] for tag in ("OLD", "BAD", "WHO")}
    assert said["OLD"] == {"status": "Expired", "expiryDate": "2020-01-01T00:00:00Z"}
    assert said["BAD"] == {"status": "Blocked"}
    assert said["WHO"] == {"status": "Invalid"}
    lax = make_node(settings={"unknown_tokens": "Accepted"})
    async with serving(lax), raw(lax) as point:
        assert (await point.call("Authorize", {"idTag": "WHO"}))["idTagInfo"]["status"] == "Accepted"


async def test_signed_values_are_kept_as_they_came():
    node = make_node()
    signed = {"value": "OCMF|{...}|{...}", "format": "SignedData", "context": "Transaction.End", "measurand": "SoC"}
    values = [{"timestamp": at(node), "sampledValue": [signed, {"value": "77"}]}]
    async with serving(node), raw(node) as point:
        id_ = (await point.call("StartTransaction", start(node)))["transactionId"]
        await point.call("StopTransaction", stop(node, id_, 1, transactionData=values))
        kept = record(node)
    assert kept.signed == 1
    assert kept.open == ()
    assert json.loads(node.store.content[f"signed/org/{STATION}/0"]) == {
        "transaction": str(id_),
        "values": [{"timestamp": values[0]["timestamp"], "sampledValue": signed}],
    }
    assert 77 in stored(node, "activeEnergyImport")


async def test_what_no_thing_stands_for_is_answered_and_counted():
    node = make_node()
    async with serving(node) as adapter, raw(node) as point:
        status = {"connectorId": 7, "errorCode": "NoError", "status": "Available"}
        assert await point.call("StatusNotification", status) == {}
        assert await point.call("StatusNotification", status | {"connectorId": 0}) == {}
        sampled = [{"value": "50", "measurand": "Frequency"}, {"value": "1", "measurand": "Power.Offered"}]
        values = [{"timestamp": at(node), "sampledValue": sampled}]
        assert await point.call("MeterValues", {"connectorId": 1, "meterValue": values}) == {}
        assert adapter.counters["unbound"] == 2
        assert adapter.counters["left_out:Frequency"] == 1
        assert node.stored == []


async def test_a_value_that_is_no_number_is_refused_and_kept():
    node = make_node()
    async with serving(node), raw(node) as point:
        sampled = [{"value": "seven"}, {"value": "nan"}, {"value": "7", "unit": "V"}, {"value": "8"}]
        values = [{"timestamp": at(node), "sampledValue": sampled}]
        assert await point.call("MeterValues", {"connectorId": 1, "meterValue": values}) == {}
    assert [problem.index for _, problem in node.problems] == [0, 1, 2]
    assert {problem.name for _, problem in node.problems} == {f"{ONE}/activeEnergyImport"}
    assert stored(node, "activeEnergyImport") == [8]


async def test_the_last_word_of_firmware_and_diagnostics_is_kept_and_vendors_are_unknown():
    node = make_node()
    async with serving(node), raw(node) as point:
        assert await point.call("FirmwareStatusNotification", {"status": "Installed"}) == {}
        assert await point.call("DataTransfer", {"vendorId": "x"}) == {"status": "UnknownVendorId"}
        assert record(node).notices == {"FirmwareStatusNotification": {"status": "Installed"}}


def test_open_transactions_are_bounded():
    kept = Record()
    for number in range(100):
        kept, _ = kept.begin(str(number))
    assert len(kept.open) == 64
    assert len(kept.recent) == 8
    assert isinstance(kept.open[0], Transaction)
