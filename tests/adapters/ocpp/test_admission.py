"""Who may come in: security profiles 1, 2 and 3, and that a claimed name is never enough."""

import asyncio
import importlib.util
import ssl
from pathlib import Path

import msgspec
import pytest
from ocpp_bench import (
    BOOT_2,
    BOOT_16,
    DEVICE,
    ONE,
    PASSWORD,
    STATION,
    TWO,
    basic,
    binding,
    connect,
    make_node,
    raw,
    serving,
    stored,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gridspine.infra.runtime.clock import VirtualClock

_SPEC = importlib.util.spec_from_file_location("ocpp_authority", Path(__file__).parents[1] / "mqtt" / "authority.py")
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
Authority = _MODULE.Authority


async def refused(node, clock, **options):
    """Return the status and headers that a connection is refused with, moving time on meanwhile."""
    async with asyncio.TaskGroup() as group:
        moving = group.create_task(_move(clock))
        with pytest.raises(InvalidStatus) as error:
            async with connect(node, **options):
                pass
        moving.cancel()
    return error.value.response.status_code, error.value.response.headers


async def _move(clock):
    while True:
        await asyncio.sleep(0.01)
        await clock.advance(0.5)


async def test_nobody_comes_in_without_being_known():
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node) as adapter:
        for options in (
            {"password": "wrong"},
            {"headers": {}},
            {"headers": {"Authorization": "Basic ???"}},
            {"headers": {"Authorization": "Bearer x"}},
            {"headers": basic(DEVICE, PASSWORD)},  # the user name is the charge point's, not the principal's
            {"headers": basic("", PASSWORD)},
            {"station": "CP999"},
        ):
            status, headers = await refused(node, clock, **options)
            assert status == 401, options
            assert headers["WWW-Authenticate"].startswith("Basic ")
        assert adapter.counters["rejected:401"] == 7
        assert adapter.server.connected == []


async def test_addresses_that_name_no_charge_point_are_not_found():
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node):
        for options in ({"path": "/other/"}, {"station": "a%20b"}, {"station": "x" * 49}, {"station": ""}):
            assert (await refused(node, clock, **options))[0] == 404, options


async def test_a_name_that_is_claimed_is_not_enough():
    clock = VirtualClock()
    other = "urn:dev:ops:32473-station-2"
    node = make_node(binding(), binding(TWO, station="CP002", device=other), clock=clock)
    node.add_user(other, "another", TWO)
    node.may[DEVICE] = {ONE}
    async with serving(node):
        # the password is that of another charge point
        assert (await refused(node, clock, station="CP002", password=PASSWORD))[0] == 401
        node.may[other] = set()
        assert (await refused(node, clock, station="CP002", password="another"))[0] == 404


async def test_a_plain_request_is_told_what_is_wanted():
    node = make_node()
    async with serving(node):
        reader, writer = await asyncio.open_connection(*node.address["ocpp"])
        header = basic(STATION, PASSWORD)["Authorization"]
        writer.write(f"GET /ocpp/{STATION} HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\n\r\n".encode())
        assert b" 426 " in await reader.readline()
        writer.close()
        reader, writer = await asyncio.open_connection(*node.address["ocpp"])
        writer.write(b"\x16\x03\x01\x00\xff nonsense \r\n\r\n")
        await reader.read()
        writer.close()


async def test_the_newest_version_that_both_know_is_spoken_and_none_ends_the_connection():
    node = make_node()
    async with serving(node) as adapter:
        for offered, spoken in (("1.6,2.0.1", "ocpp2.0.1"), ("1.6", "ocpp1.6"), ("2.0.1,2.1,1.6", "ocpp2.1")):
            async with connect(node, offered) as socket:
                assert socket.subprotocol == spoken
        for offered in ("1.5,2.0", ""):
            async with connect(node, offered) as socket:
                assert socket.subprotocol is None  # completed without one, then closed (OCPP-J 1.6 §3.1.2)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd.code == 1002
        assert adapter.counters["no_common_version"] == 2


async def test_who_was_turned_away_is_told_to_come_later():
    clock = VirtualClock()
    node = make_node(clock=clock)
    async with serving(node) as adapter:
        adapter.server._admission.hold_off(f"org/{STATION}", 300.0)
        status, headers = await refused(node, clock)
        assert status == 503
        assert 250 < int(headers["Retry-After"]) <= 300
        await clock.advance(300.0)
        async with raw(node) as point:
            assert await point.call("Heartbeat", {})


async def test_connections_are_bounded():
    node = make_node(binding(), binding(TWO, station="CP002"), settings={"max_connections": 1})
    async with serving(node), raw(node) as point:
        with pytest.raises(InvalidStatus, match="503"):
            async with connect(node, station="CP002"):
                pass
        assert await point.call("Heartbeat", {})


async def test_who_is_not_known_yet_takes_no_place_of_those_who_are():
    clock = VirtualClock()
    node = make_node(clock=clock, settings={"max_handshakes": 1})
    async with serving(node) as adapter, raw(node) as point:
        _, silent = await asyncio.open_connection(*node.address["ocpp"])
        await node.until(lambda: adapter.server._opening == 1)
        with pytest.raises(InvalidStatus, match="503"):
            async with connect(node):
                pass
        assert adapter.counters["too_many"] == 1
        assert await point.call("Heartbeat", {})
        silent.close()
        await node.until(lambda: adapter.server._opening == 0)
        async with raw(node) as again:
            assert await again.call("Heartbeat", {})


async def test_a_device_that_lost_its_thing_is_cut_and_a_new_thing_is_served_at_once():
    node = make_node()
    async with serving(node), raw(node) as point:
        node.set_bindings([binding(), binding(TWO, evse=2)])
        status = {"connectorId": 2, "errorCode": "NoError", "status": "Available"}
        async with asyncio.timeout(60):
            while not stored(node, "connectorState", TWO):
                await point.call("StatusNotification", status)
        node.may[DEVICE] = {TWO}
        assert await point.call("StatusNotification", status | {"connectorId": 1}) == {}
        assert stored(node, "connectorState", ONE) == []  # its other Thing is not its own any more
        node.may[DEVICE] = set()
        node.set_bindings([binding(), binding(TWO, evse=2)])
        with pytest.raises(ConnectionClosed) as closed:
            await point.receive()
        assert closed.value.rcvd.code == 1008


async def test_profile_2_and_3_over_tls(tmp_path):
    authority = Authority(tmp_path)
    node = make_node(tls=authority.server_context(), host="localhost")
    device = authority.context("station", "station")
    stranger = authority.context("stranger", "stranger")
    node.certificates[_der(tmp_path / "station.pem")] = DEVICE
    clock = VirtualClock()
    plain = ssl.create_default_context(cafile=authority.path)
    async with serving(node):
        async with connect(node, tls=plain) as socket:  # profile 2: TLS and a password
            await socket.send('[2, "a", "Heartbeat", {}]')
            assert '"a"' in await socket.recv()
        async with connect(node, tls=device, headers={}) as socket:  # profile 3: a certificate
            await socket.send('[2, "b", "Heartbeat", {}]')
            assert '"b"' in await socket.recv()
        # another device's certificate, whatever password comes with it
        assert (await refused(node, clock, tls=stranger))[0] == 401


def _der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


async def test_bindings_that_make_no_sense_are_left_out_and_said(caplog):
    bindings = [
        binding(),
        binding("urn:x:a"),
        binding("urn:x:b", evse=2, device="urn:x:other"),
        binding("urn:x:c", station="a b"),
        binding("urn:x:d", evse=5000),
        binding("urn:x:e", colour="red"),
    ]
    node = make_node(*bindings)
    async with serving(node), raw(node) as point:
        await point.call("Heartbeat", {})
    assert sum("binding left out" in line for line in caplog.text.splitlines()) == 5


async def test_an_address_does_not_take_the_places_of_others():
    node = make_node(binding(), binding(TWO, station="CP002"), settings={"max_per_address": 1})
    async with serving(node) as adapter, raw(node) as point:
        with pytest.raises(InvalidStatus, match="503"):
            async with connect(node, station="CP002"):
                pass
        assert adapter.counters["too_many"] == 1
        assert await point.call("Heartbeat", {})


async def test_handshakes_of_one_address_are_bounded():
    node = make_node(settings={"max_handshakes_per_address": 1})
    async with serving(node) as adapter:
        _, silent = await asyncio.open_connection(*node.address["ocpp"])
        await node.until(lambda: adapter.server._opening == 1)
        with pytest.raises(InvalidStatus, match="503"):
            async with connect(node):
                pass
        silent.close()
        await node.until(lambda: adapter.server._opening == 0)
        async with raw(node) as point:
            assert await point.call("Heartbeat", {})


async def test_a_name_is_its_organisations_own():
    clock = VirtualClock()
    theirs = "urn:dev:ops:32473-station-9"
    other = binding(TWO, device=theirs, evse=1)
    node = make_node(binding(), msgspec.structs.replace(other, organisation="zeta"), clock=clock)
    node.organisations[theirs] = "zeta"
    node.add_user(theirs, "zeta's word", TWO)
    node.may[DEVICE] = {ONE}
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    async with serving(node) as adapter:
        async with raw(node) as ours, raw(node, password="zeta's word") as its:
            for point in (ours, its):
                await point.call("StatusNotification", status)
            assert adapter.server.connected == ["org/CP001", "zeta/CP001"]
        assert (stored(node, "connectorState", ONE), stored(node, "connectorState", TWO)) == ([1], [1])
        async with raw(node, path="/ocpp/org/") as point:
            assert await point.call("Heartbeat", {})
        assert (await refused(node, clock, path="/ocpp/zeta/"))[0] == 401, "that is another organisation's"
        assert (await refused(node, clock, path="/ocpp/none/"))[0] == 401


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_charge_point_of_an_unknown_name_waits_and_is_announced(version):
    clock, installer = VirtualClock(), "urn:example:newcomers"
    node = make_node(settings={"newcomers": installer}, clock=clock)
    node.add_user(installer, "new", TWO)
    boot = BOOT_16 | {"chargePointSerialNumber": "S7"} if version == "1.6" else BOOT_2
    async with serving(node) as adapter:
        assert (await refused(node, clock, station="CP777", password="wrong"))[0] == 401
        async with raw(node, version, station="CP777", password="new") as point:
            assert await point.call("Heartbeat", {}) == "SecurityError"
            assert (await point.call("BootNotification", boot))["status"] == "Pending"
            ((source, said),) = node.announced
            assert (source.principal, said.make, said.serial) == (
                installer, "Acme", "S7" if version == "1.6" else "CP777",
            )  # fmt: skip
            assert said.connection == {"station": "CP777", "device": installer}
            node.set_bindings([binding(), binding(TWO, **said.connection)])
            with pytest.raises(ConnectionClosed) as closed:
                await point.receive()
            assert closed.value.rcvd.code == 1012
        async with raw(node, version, station="CP777", password="new") as point:
            assert (await point.call("BootNotification", boot))["status"] == "Accepted"
        assert len(node.announced) == 1
        assert adapter.counters["announced"] == 1
