"""Bad input, counted: a fleet that comes at once, connections that say nothing, a charge point that lies."""

import asyncio
import base64
import json
import os
from collections import Counter

import pytest
from ocpp_bench import BOOT_16, DEVICE, ONE, PASSWORD, TWO, at, binding, event, make_node, raw, serving, stored

from gridspine.adapters.ocpp.wire import Call, encode_call
from gridspine.infra.runtime.clock import VirtualClock

FLEET = 1_000


def handshake(station: str, version: str = "1.6") -> bytes:
    proof = base64.b64encode(f"{station}:{PASSWORD}".encode()).decode()
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET /ocpp/{station} HTTP/1.1", "Host: node", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: ocpp{version}",
        f"Authorization: Basic {proof}",
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def frame(data: bytes) -> bytes:
    """A masked text frame of fewer than 126 bytes (RFC 6455 §5.2); the mask is zero."""
    return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data


async def come(node, station, told):
    """Come again until let in, as charge points do; return the answer to a heartbeat, and the connection."""
    while True:
        reader, writer = await asyncio.open_connection(*node.address["ocpp"])
        writer.write(handshake(station))
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        told[status] += 1
        if status == 101:
            break
        writer.close()
        await asyncio.sleep(0.05)
    writer.write(frame(encode_call(Call("1", "Heartbeat", {}))))
    head = await reader.readexactly(2)
    return json.loads(await reader.readexactly(head[1])), writer


async def test_a_thousand_that_come_at_once_are_all_served_or_told_and_never_too_many_at_a_time():
    stations = [f"CP{number:04}" for number in range(FLEET)]
    bound = [binding(f"urn:example:{name}", station=name) for name in stations]
    node = make_node(*bound, settings={"max_handshakes_per_address": 64})
    node.add_user(DEVICE, PASSWORD, *(one.thing for one in bound))
    told, most, done = Counter(), 0, False

    async def watch(server):
        nonlocal most
        while not done:
            most = max(most, server._opening)
            await asyncio.sleep(0)

    async with serving(node) as adapter:
        await asyncio.wait_for(adapter.server.ready.wait(), 60)
        watching = asyncio.create_task(watch(adapter.server))
        came = await asyncio.gather(*(come(node, one, told) for one in stations))
        done = True
        await watching
        assert adapter.server.connected == sorted(f"org/{one}" for one in stations)
        assert told[101] == FLEET
        assert told.keys() <= {101, 503}, "served, or told to come again"
        assert told[503] == adapter.counters["too_many"]
        assert 0 < most <= 64
        assert all(answer[0] == 3 for answer, _ in came)
        assert adapter.counters["calls_in"] == FLEET
        for _, writer in came:
            writer.close()


async def test_connections_that_never_ask_are_let_go_and_keep_nobody_out():
    clock = VirtualClock()
    node = make_node(clock=clock, settings={"max_handshakes_per_address": 60})
    async with serving(node) as adapter:
        silent = []
        for said in (b"", b"GET /ocpp/CP001 HTTP/1.1\r\nHost:", handshake("CP001")[:-2], b"\x16\x03\x01\x02\x00"):
            for _ in range(10):
                _, writer = await asyncio.open_connection(*node.address["ocpp"])
                writer.write(said)
                silent.append(writer)
        await node.until(lambda: adapter.server._opening >= 30)
        async with raw(node) as point:
            assert await point.call("Heartbeat", {})
            await clock.advance(11.0)  # the time for a handshake
            await node.until(lambda: adapter.server._opening == 0)
            assert await point.call("Heartbeat", {})
            assert adapter.server.connected == ["org/CP001"]
        for writer in silent:
            writer.close()


def transactions(found):
    return {one["id"]: one for one in found[1]["transactions"]}


async def test_what_a_charge_point_of_1_6_says_and_cannot_be_is_doubted_and_no_bill():
    other = binding(TWO, station="CP002", device="urn:dev:ops:32473-other")
    node = make_node(binding(), other)
    node.add_user("urn:dev:ops:32473-other", PASSWORD, TWO)
    begin = {"connectorId": 1, "idTag": "CAFE01", "meterStart": 5_000}
    async with serving(node) as adapter, raw(node) as honest, raw(node, station="CP002") as liar:
        await honest.call("BootNotification", BOOT_16)
        theirs = (await honest.call("StartTransaction", begin | {"timestamp": at(node, -60)}))["transactionId"]
        # It ends, and meters, what is another's.
        stop = {"transactionId": theirs, "meterStop": 9_000, "timestamp": at(node), "idTag": "CAFE01"}
        assert (await liar.call("StopTransaction", stop))["idTagInfo"]["status"] == "Accepted"
        values = [{"timestamp": at(node), "sampledValue": [{"value": "7777"}]}]
        await liar.call("MeterValues", {"connectorId": 1, "transactionId": theirs, "meterValue": values})
        assert transactions(await node.request(ONE, "transactions", {}))[str(theirs)].get("stoppedAt") is None
        assert stored(node, "activeEnergyImport", ONE) == [5_000], "nothing of it is the other's reading"
        # Its own register runs backwards, its clock is a day ahead, and it ended before it began.
        own = (await liar.call("StartTransaction", begin | {"timestamp": at(node, 86_400)}))["transactionId"]
        end = {"transactionId": own, "meterStop": 4_000, "timestamp": at(node)}
        await liar.call("StopTransaction", end)
        found = transactions(await node.request(TWO, "transactions", {}))
        assert found[str(own)]["doubts"] == ["clock-ahead", "ended-before-it-began", "register-fell"]
        assert "energyWh" not in found[str(own)]
        assert (found[str(own)]["meterStartWh"], found[str(own)]["meterStopWh"]) == (5_000, 4_000), "kept as it came"
        assert found[str(theirs)].get("startedAt") is None, "what it ended and never began is just that"
        # The honest one goes on, and ends its own.
        await honest.call("StopTransaction", stop | {"meterStop": 8_000})
        ours = transactions(await node.request(ONE, "transactions", {}))[str(theirs)]
        assert (ours["energyWh"], "doubts" in ours) == (3_000, False)
        assert adapter.counters["doubted_transactions"] == 2  # at its start already, and at its end


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_what_a_station_of_2_says_and_cannot_be_is_doubted_and_holes_are_counted(version):
    node = make_node()
    async with serving(node), raw(node, version) as point:
        await point.call("TransactionEvent", event(node, "Started", 0, 2 * 86_400, wh=900.0))
        await point.call("TransactionEvent", event(node, "Updated", 40, wh=950.0))
        await point.call("TransactionEvent", event(node, "Ended", 90, wh=100.0))
        (one,) = transactions(await node.request(ONE, "transactions", {})).values()
        assert one["doubts"] == ["clock-ahead", "ended-before-it-began", "register-fell"]
        assert one["missing"] == 88
        assert "energyWh" not in one
        # What comes under a number that was there changes nothing, whatever it says.
        await point.call("TransactionEvent", event(node, "Ended", 90, wh=99_999.0))
        (again,) = transactions(await node.request(ONE, "transactions", {})).values()
        assert again == one


async def test_a_connection_full_of_what_is_wrong_goes_on_and_each_of_it_is_counted():
    wrong = [
        ([2, "1", "Heartbeat"], "FormationViolation"), ([2, "2", "NoSuch", {}], "NotImplemented"),
        ([2, "3", "GetConfiguration", {}], "NotSupported"), ([2, "5", "Authorize", {}], "ProtocolError"),
        ([2, "4", "Authorize", {"idTag": 5}], "TypeConstraintViolation"),
        ([2, "6", "Authorize", {"idTag": "x" * 21}], "PropertyConstraintViolation"),
        ([2, "7", "Heartbeat", {"more": 1}], "FormationViolation"), ([2, "8", "Heartbeat", []], "FormationViolation"),
    ]  # fmt: skip
    unasked = [[3, "x", {}], [4, "x", "InternalError", "", {}], [3, "y", {"status": "Accepted"}]]
    nobodys = [[2], [9, "z", "Heartbeat", {}], ["2", "q", "Heartbeat", {}], [2, 5, "Heartbeat", {}]]
    node = make_node()
    async with serving(node) as adapter, raw(node) as point:
        for _ in range(25):
            for said, code in wrong:
                await point.send(*said)
                answer = await point.receive()
                assert answer[:3] == [4, said[1], code]
            for said in (*unasked, *nobodys):
                await point.send(*said)
        assert await point.call("Heartbeat", {})
        assert adapter.counters["refused"] == 25 * len(wrong)
        assert adapter.counters["late_or_unknown_answers"] == 25 * len(unasked)
        assert adapter.counters["ignored"] == 25 * len(nobodys)
        assert adapter.server.connected == ["org/CP001"]


async def test_numbers_beyond_all_bounds_are_refused_as_values_and_change_nothing(caplog):
    node, huge = make_node(), 10**400
    begin = {"connectorId": 1, "idTag": "CAFE01", "meterStart": huge, "timestamp": at(node)}
    async with serving(node), raw(node) as point:
        assert await point.call("StartTransaction", begin) == "PropertyConstraintViolation"
        assert transactions(await node.request(ONE, "transactions", {})) == {}
        assert await point.call("Heartbeat", {})
    assert "could not be answered" not in caplog.text
