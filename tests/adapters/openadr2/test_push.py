"""VENs that do not poll: told at their own servers by mutual TLS, again when they were away, and after a restart."""

import asyncio
import contextlib
import ssl
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding
from csip_utility import METER

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import push, signature, wire
from gridspine.adapters.openadr2.desk import _push_address
from gridspine.adapters.openadr2.problem import Refused
from gridspine.adapters.openadr2.settings import Push
from gridspine.infra.runtime.clock import VirtualClock

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Server:
    """A VEN's own server: what it was told, by whom; ``answer`` is what it says, None for nothing at all."""

    def __init__(self, vtn):
        self.vtn, self.told, self.address = vtn, [], ""
        self.answer = b""
        self._open = set()

    async def start(self, port=0):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.vtn.pki.ca.crt))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.vtn.pki.server.crt, self.vtn.pki.server.pem)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.address = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self):
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
                body = await reader.readexactly(size)
                if self.answer is None:
                    await asyncio.get_running_loop().create_future()
                der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                self.told.append((head.split(" ")[1], wire.read(body), body, der))
                said = self.answer
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def heard(self, count=1):
        """Return the latest of ``count`` messages, when that many came."""
        async with asyncio.timeout(60):
            while len(self.told) < count:
                await asyncio.sleep(0.02)
        return self.told[count - 1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vtn(tmp_path_factory):
    serving = sys.modules["openadr2_vtn"].serving
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FIRST_S", 0.2), ("LONGEST_S", 0.5), ("TIMEOUT_S", 5.0)):
            patch.setattr(push, name, value)
        settings = {"signature": "verified", "push": {"allow": ["127.0.0.0/8"]}}
        async with serving(tmp_path_factory.mktemp("vtn"), **settings) as made:
            yield made


@contextlib.asynccontextmanager
async def pushed(vtn, **more):
    """Yield a VEN that is pushed to, and its server."""
    server = Server(vtn)
    await server.start()
    try:
        ven = await vtn.ven(**more)
        yield ven, server
    finally:
        await server.stop()


@pytest.mark.slow
async def test_a_ven_is_told_answers_and_is_told_of_the_end(vtn):
    async with pushed(vtn) as (ven, server):
        await ven.register(http_pull=False, transport_address=server.address)
        programme, _ = await vtn.enrolled(ven.thing)
        id_ = await vtn.publish(programme, (60, 660, {"control": {"targetW": 1000}}))
        path, told, _, shown = await server.heard()
        assert path == "/OpenADR2/Simple/2.0b/EiEvent"
        assert shown == vtn.pki.server.certificate.public_bytes(Encoding.DER)
        (one,) = told.events
        assert (told.vtn_id, one.event.descriptor.event_id) == ("GRIDSPINE", id_.removeprefix("urn:uuid:"))
        assert (await ven.answer(one.event)).response.code == 200
        assert await vtn.opts(programme) == []
        # it may still ask by itself, and is told the same once only
        assert isinstance(await ven.poll(), m.Answer)
        newer = await vtn.publish(programme, (90, 690, {"control": {"targetW": 2000}}), supersedes=id_)
        _, told, _, _ = await server.heard(2)
        assert told.events[0].event.descriptor.modification_number == 1
        await ven.answer(told.events[0].event)
        # while it is away, others are told, and so is it when it is back: what holds then
        port = int(server.address.rpartition(":")[2])
        await server.stop()
        await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel", json={"reason": "over"})
        async with pushed(vtn) as (other, there):
            await other.register(http_pull=False, transport_address=f"{there.address}/OpenADR2/Simple/2.0b/")
            second, _ = await vtn.enrolled(other.thing)
            await vtn.publish(second, (60, 660, {"control": {"targetW": 1}}))
            assert (await there.heard())[0] == "/OpenADR2/Simple/2.0b/EiEvent"
            await vtn.restart()
            ven.http = await vtn.client(ven.issued)
            await server.start(port)
            _, told, _, _ = await server.heard(3)
            assert [one.event.descriptor.status for one in told.events] == ["cancelled"]
            assert (await ven.answer(told.events[0].event)).response.code == 200


async def test_a_ven_that_holds_its_connection_holds_nobody_up(vtn, monkeypatch):
    monkeypatch.setattr(push, "TIMEOUT_S", 0.5)
    async with pushed(vtn) as (silent, stuck), pushed(vtn) as (ven, server):
        stuck.answer = None
        programmes = []
        for one, at in ((silent, stuck), (ven, server)):
            await one.register(http_pull=False, transport_address=at.address)
            programmes.append((await vtn.enrolled(one.thing))[0])
        for programme in programmes:
            await vtn.publish(programme, (60, 660, {"control": {"targetW": 1000}}))
        assert (await server.heard())[1].events
        stuck.answer = b""  # and who did not answer is told again
        assert (await stuck.heard())[1].events


async def test_what_is_pushed_to_who_signs_is_signed(vtn):
    async with pushed(vtn, signature="required") as (ven, server):
        signer = signature.Signer(ven.issued.crt.read_bytes(), ven.issued.pem.read_bytes())
        asked = m.CreatePartyRegistration(request_id="r", http_pull=False, transport_address=server.address)
        made = await ven.say(asked, body=signer.sign(asked, vtn.world.node.clock.now_us(), "n"))
        assert made.response.code == 200
        programme, _ = await vtn.enrolled(ven.thing)
        await vtn.publish(programme, (60, 660, {"control": {"targetW": 1000}}))
        _, told, body, shown = await server.heard()
        assert signature.verify(body, shown, vtn.world.node.clock.now_us()).message == told


async def test_a_ven_that_no_thing_is_any_more_hears_so(vtn):
    async with pushed(vtn) as (ven, server):
        server.answer = wire.write(m.Answer(response=m.Response(code=469)))  # not now
        await ven.register(http_pull=False, transport_address=server.address)
        answer = await vtn.world.op.delete(f"/things/{ven.thing}")
        assert answer.status_code in {200, 204}, answer.text
        path, said, _, _ = await server.heard()
        assert (path, type(said)) == ("/OpenADR2/Simple/2.0b/EiRegisterParty", m.CancelPartyRegistration)
        assert (said.ven_id, said.registration_id) == (ven.id, ven.registration)
        server.answer = wire.write(m.CanceledPartyRegistration(response=m.Response()))
        await server.heard(2)
        async with asyncio.timeout(60):
            while await vtn.context.store.get(f"gone/{ven.id}") is not None:
                await asyncio.sleep(0.02)


async def test_nothing_is_pushed_to_where_it_may_not(vtn, caplog):
    async with pushed(vtn) as (ven, server):
        await ven.register(http_pull=False, transport_address="https://169.254.169.254:1")
        programme, _ = await vtn.enrolled(ven.thing)
        await vtn.publish(programme, (60, 660, {"control": {"targetW": 1000}}))
        words = "169.254.169.254 is at no address that may be connected to: see adapters.settings.openadr2.push.allow"
        async with asyncio.timeout(60):
            while not any(words in one.getMessage() for one in caplog.records):
                await asyncio.sleep(0.02)
        # at another address, which it may register, it is told at once
        await ven.register(http_pull=False, transport_address=server.address)
        assert (await server.heard())[1].events


async def test_who_is_known_no_more_is_told_nothing(vtn):
    async with pushed(vtn) as (ven, server), pushed(vtn) as (other, there):
        await ven.register(http_pull=False, transport_address=server.address)
        await other.register(http_pull=False, transport_address=there.address)
        source = await vtn.context.authorise("", "", ven.issued.certificate.public_bytes(Encoding.DER))
        body = {"title": "Elsewhere", "model": METER, "devices": [ven.principal]}
        assert (await vtn.world.op.post("/things", json=body)).status_code == 201
        assert vtn.context.things_of(source) == [ven.thing], "of those of this adapter"
        answer = await vtn.world.op.post(f"/principals/{ven.principal}/deactivate")
        assert answer.status_code in {200, 204}, answer.text
        for one in (ven, other):
            programme, _ = await vtn.enrolled(one.thing)
            await vtn.publish(programme, (60, 660, {"control": {"targetW": 1000}}))
        await there.heard()
        assert server.told == []
        assert vtn.context.things_of(source) == []


@pytest.mark.parametrize(
    "address",
    ["http://ven.example/x", "https://u:p@ven.example", "ven.example", "https://ven.example/x?y=1", "", "https://é.example",
     "https://ven.example/" + "x" * 500, "file:///etc/passwd"],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(Refused, match="oadrTransportAddress"):
        _push_address(address)


async def test_addresses_have_the_path_of_the_standard_unless_they_say_another():
    assert _push_address("https://ven.example:8443/") == "https://ven.example:8443/OpenADR2/Simple/2.0b"
    assert _push_address("https://ven.example/a/OpenADR2/Simple/2.0b/") == "https://ven.example/a/OpenADR2/Simple/2.0b"


async def test_a_clock_that_is_set_back_keeps_nobody_waiting():
    clock = VirtualClock()
    pusher = push.Pusher(SimpleNamespace(clock=clock, changed=asyncio.Event()), Push())
    line = pusher._line("ven")
    pusher._ended(line, "ven", "it was away")
    assert pusher._line("ven") is None
    clock.step_wall(-3_600)
    await clock.advance(push.FIRST_S)
    assert pusher._line("ven") is line
