"""The session: every negative case gets its CALLERROR, or is ignored and counted; nothing is unbounded."""

import asyncio
import json

import pytest
from ocpp_bench import LIMITED, PASSWORD, STATION, at, basic, binding, make_node, order, raw, serving
from websockets.exceptions import ConnectionClosed

from gridspine.adapters.ocpp import answers_16
from gridspine.infra.runtime.clock import VirtualClock


@pytest.mark.parametrize(
    ("version", "action", "payload", "code"),
    [
        ("1.6", "Nonsense", {}, "NotImplemented"),
        ("2.0.1", "StartTransaction", {}, "NotImplemented"),
        ("1.6", "TransactionEvent", {}, "NotImplemented"),
        ("1.6", "Reset", {"type": "Hard"}, "NotSupported"),
        ("2.0.1", "NotifyEvent", {"generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0, "eventData": []}, "Occurrence"),
        ("2.0.1", "ReportChargingProfiles", {}, "OccurrenceConstraintViolation"),
        ("1.6", "BootNotification", {"chargePointVendor": 7, "chargePointModel": "x"}, "TypeConstraintViolation"),
        ("1.6", "BootNotification", {"chargePointVendor": "x"}, "ProtocolError"),
        ("2.0.1", "BootNotification", {"reason": "PowerUp"}, "OccurrenceConstraintViolation"),
        ("1.6", "Heartbeat", {"x": 1}, "FormationViolation"),
        ("2.0.1", "Heartbeat", {"x": 1}, "FormatViolation"),
    ],
)
async def test_each_negative_case_has_its_callerror(version, action, payload, code):
    node = make_node()
    async with serving(node), raw(node, version) as point:
        await point.send(2, "x", action, payload)
        type_, id_, said, words, details = await point.receive()
        assert (type_, id_) == (4, "x")
        assert said.startswith(code)
        assert 0 < len(words) <= 255
        assert details == {}
        assert await point.call("Heartbeat", {})  # and the connection goes on
    assert node.stored == []


async def test_what_has_no_id_is_answered_in_2_and_ignored_in_1_6():
    node = make_node()
    async with serving(node) as adapter:
        async with raw(node, "2.0.1") as point:
            await point.socket.send("{")
            assert (await point.receive())[:3] == [4, "-1", "RpcFrameworkError"]
        async with raw(node, "1.6") as point:
            await point.socket.send("{")
            assert await point.call("Heartbeat", {})
        assert (adapter.counters["refused"], adapter.counters["ignored"]) == (1, 1)


async def test_answers_that_nobody_waits_for_are_ignored_and_counted():
    node = make_node()
    async with serving(node) as adapter, raw(node) as point:
        await point.send(3, "who", {"status": "Accepted"})
        await point.send(4, "who", "GenericError", "", {})
        assert await point.call("Heartbeat", {})
        assert adapter.counters["late_or_unknown_answers"] == 2


async def test_an_answer_that_its_schema_does_not_allow_is_refused():
    node = make_node(binding(points=LIMITED))
    async with serving(node) as adapter, raw(node, "2.1") as point:
        point.answers = {"GetCompositeSchedule": {"status": "Perhaps"}}
        assert await point.answer_next() == "GetCompositeSchedule"
        type_, _, code, _, _ = await point.receive()
        assert (type_, code) == (5, "PropertyConstraintViolation")
        assert adapter.counters["bad_answers"] == 1
        assert await point.call("Heartbeat", {})


async def test_a_late_answer_is_ignored_and_one_call_is_outstanding_at_a_time():
    clock = VirtualClock()
    node = make_node(binding(points=LIMITED), clock=clock, settings={"call_timeout_s": 10.0})
    async with serving(node) as adapter, raw(node) as point:
        first = await point.receive()
        assert first[2] == "GetCompositeSchedule"
        node.order(order(node))
        await point.send(2, "h", "Heartbeat", {})
        assert (await point.receive())[1] == "h"  # nothing else is asked while that is open
        await clock.advance(10.0)
        second = await point.receive()
        assert second[2] == "SetChargingProfile"
        await point.send(3, first[1], {"status": "Rejected"})
        assert await point.call("Heartbeat", {})
        assert adapter.counters["late_or_unknown_answers"] == 1
        assert adapter.counters["unanswered"] == 1


async def test_calls_sent_all_at_once_are_answered_in_their_order():
    node = make_node()
    async with serving(node), raw(node) as point:
        for number in range(100):
            await point.send(2, str(number), "Heartbeat", {})
        assert [(await point.receive())[1] for _ in range(100)] == [str(number) for number in range(100)]


async def test_a_message_too_large_and_a_binary_one_end_their_own_connection():
    node = make_node(settings={"max_message_bytes": 2000})
    async with serving(node), raw(node) as point:
        for message, code in (("x" * 2001, 1009), (b"[2]", 1003)):
            async with raw(node) as other:
                await other.socket.send(message)
                with pytest.raises(ConnectionClosed) as closed:
                    await other.receive()
                assert closed.value.rcvd.code == code
        async with raw(node) as again:
            assert await again.call("Heartbeat", {})
        del point


async def test_a_message_in_pieces_is_one_message():
    node = make_node()
    async with serving(node), raw(node) as point:
        await point.socket.send(iter(['[2, "a", "Hea', 'rtbeat"', ", {}]"]))
        assert (await point.receive())[1] == "a"


async def test_a_silent_charge_point_is_let_go():
    clock = VirtualClock()
    node = make_node(clock=clock, settings={"ping_s": 10.0, "idle_timeout_s": 30.0})
    async with serving(node) as adapter:
        reader, writer = await asyncio.open_connection(*node.address["ocpp"])
        headers = "\r\n".join(f"{name}: {value}" for name, value in _handshake(node).items())
        writer.write(f"GET /ocpp/CP001 HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        await node.until(lambda: adapter.server.connected)
        for _ in range(60):  # pings are never answered
            await clock.advance(1.0)
            await asyncio.sleep(0)
        await node.until(lambda: not adapter.server.connected)
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def test_who_says_nothing_at_all_is_let_go():
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node) as adapter:
        reader, writer = await asyncio.open_connection(*node.address["ocpp"])
        writer.write(b"GET /ocpp/CP001 HTTP/1.1\r\n")
        await node.until(lambda: adapter.server._opening)
        await asyncio.sleep(0)  # its timer is set
        await clock.advance(11.0)
        assert await reader.read() == b""
        writer.close()


async def test_a_fault_of_ours_is_an_internal_error_and_logged(monkeypatch, caplog):
    async def fail(point, said):
        raise RuntimeError("broken")

    async def nonsense(point, said):
        return {"nonsense": 1}

    node = make_node()
    async with serving(node), raw(node) as point:
        for answer in (fail, nonsense):
            monkeypatch.setitem(answers_16.ANSWERS, "Heartbeat", answer)
            assert await point.call("Heartbeat", {}) == "InternalError"
    assert "could not be answered" in caplog.text
    assert "breaks its schema" in caplog.text


async def test_a_charge_point_that_connects_anew_replaces_its_half_open_connection():
    node = make_node()
    async with serving(node) as adapter, raw(node) as old:
        await old.call("Heartbeat", {})
        async with raw(node) as new:
            assert await new.call("Heartbeat", {})
            with pytest.raises(ConnectionClosed):
                await old.receive()
            assert adapter.server.connected == ["org/CP001"]


async def test_a_charge_point_that_does_not_read_does_not_keep_the_node_from_stopping():
    node = make_node(settings={"max_message_bytes": 1 << 20})
    async with serving(node) as adapter:
        reader, writer = await asyncio.open_connection(*node.address["ocpp"], limit=1024)
        headers = "\r\n".join(f"{name}: {value}" for name, value in _handshake(node).items())
        writer.write(f"GET /ocpp/CP001 HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        message = json.dumps([2, "x", "Authorize", {"idTag": "y" * 30}]).encode()
        frame = bytes((0x81, 0xFE)) + len(message).to_bytes(2, "big") + bytes(4) + message
        if len(message) < 126:
            frame = bytes((0x81, 0x80 | len(message))) + bytes(4) + message
        writer.transport.pause_reading()
        before = -1
        while adapter.counters["calls_in"] != before:  # until what it is answered has no room any more
            before = adapter.counters["calls_in"]
            writer.write(frame * 20_000)
            await asyncio.sleep(0.5)
    writer.transport.abort()


async def test_a_stopped_node_says_good_bye_and_leaves_nothing_behind():
    node = make_node()
    async with serving(node):
        point = await raw(node).__aenter__()
        node.gate.clear()
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": at(node)}
        await point.send(2, "1", "StatusNotification", status)
        await node.until(lambda: node.waiting)
    with pytest.raises(ConnectionClosed):
        await point.receive()
    await point.socket.close()
    assert node.stored == []


async def test_what_is_said_is_shown_without_what_proves_and_without_tokens():
    node = make_node()
    node.traced.turn_on(60)
    async with serving(node):
        async with raw(node) as point:
            await point.call("Authorize", {"idTag": "CAFE01"})
        async with raw(node, "2.0.1") as point:
            await point.call("Authorize", {"idToken": {"idToken": "CAFE01", "type": "ISO14443"}})
    said = "\n".join(f"{line.direction} {line.text}" for line in node.traced.lines())
    assert said.count('"Authorize"') == 2
    assert "CAFE01" not in said
    assert PASSWORD not in said


async def test_passwords_stay_out_of_logs(caplog):
    caplog.set_level("DEBUG")
    caplog.set_level("INFO", logger="websockets.client")  # the test's own would log its headers
    node = make_node()
    async with serving(node), raw(node) as point:
        await point.call("Heartbeat", {})
    assert "correct horse" not in caplog.text
    assert basic(STATION, PASSWORD)["Authorization"] not in caplog.text


def _handshake(node):
    host, port = node.address["ocpp"]
    return {
        "Host": f"{host}:{port}", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "ocpp1.6",
        **basic(STATION, PASSWORD),
    }  # fmt: skip
