"""What a VEN may do wrong, or on purpose: certificates, connections, numbers, registers that fall."""

import asyncio
import ssl

import httpx
import pytest
from csip_pki import Pki

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import wire
from gridspine.kernel.time import US

pytestmark = pytest.mark.asyncio(loop_scope="module")
WATTS = m.Item(kind="power:powerReal", units="W", scale="k")
ENERGY = m.Item(kind="power:energyReal", units="Wh", scale="k")


def totals(vtn):
    counted = vtn.world.node.intake.books.totals
    return {name: getattr(counted, name) for name in ("accepted", "duplicate", "refused")}


def offered(rid, item, type_):
    sampling = r.Sampling(min_us=US, max_us=30 * US)
    return r.Description(rid=rid, type=type_, item=item, reading_type="Direct Read", sampling=sampling)


async def test_a_certificate_of_nobody_we_trust_is_no_connection(vtn, tmp_path) -> None:
    impostor = Pki(tmp_path / "forged").device("ven-1")  # an authority that has the same name
    for issued in (impostor, None):
        context = ssl.create_default_context(cafile=str(vtn.pki.ca.crt))
        if issued is not None:
            context.load_cert_chain(issued.crt, issued.pem)
        async with httpx.AsyncClient(base_url=vtn.url, verify=context) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.post("/OpenADR2/Simple/2.0b/OadrPoll", content=wire.write(m.Poll(ven_id="ven-1")))


async def test_numbers_repetitions_clocks_and_registers_that_fall(vtn) -> None:
    ven = await vtn.ven()
    await ven.register()
    (asked,) = (await ven.offer(offered("p", WATTS, "usage"), offered("e", ENERGY, "reading"))).requests
    now_us = vtn.world.node.clock.now_us() // US * US
    before = totals(vtn)
    for value in ("1e999", "9" * 400, "1,5", "0x10", ""):
        report = r.Report(
            start_us=now_us, request_id=asked.request_id, specifier_id="spec", created_us=now_us,
            intervals=(r.ReportInterval(start_us=now_us, payloads=(r.ReportPayload(rid="p", value=7.5),)),),
        )  # fmt: skip
        body = wire.write(r.UpdateReport(request_id="u", reports=(report,), ven_id=ven.id))
        assert body.count(b">7.5<") == 1
        answer = await ven.post("EiReport", body.replace(b">7.5<", f">{value}<".encode()))
        assert answer.status_code == 200, answer.text
        if value not in {"1e999", "9" * 400}:
            assert wire.read(answer.content).response.code == 454, value
    assert totals(vtn) == before, "none of them is a reading"
    for value in (1e308, 1e20):  # in kW: as watts no float can be it, or no VEN
        assert (await ven.report(asked.request_id, ("p", now_us, value, ""))).response.code == 200
    ahead = ("p", now_us + 86_400 * US, 1.0, "")  # of a VEN whose clock is a day ahead
    assert (await ven.report(asked.request_id, ahead)).response.code == 200
    assert totals(vtn) == {**before, "refused": before["refused"] + 3}
    assert await vtn.reported(ven.thing, "activePower") is None
    before = totals(vtn)
    for kwh, ago_s in ((5.0, 60), (5.0, 60), (4.0, 30)):
        row = ("e", now_us - ago_s * US, kwh, "")
        assert (await ven.report(asked.request_id, row)).response.code == 200
    changed = {name: count - before[name] for name, count in totals(vtn).items()}
    assert changed == {"accepted": 2, "duplicate": 1, "refused": 0}
    fallen = (await vtn.world.op.get(f"/things/{ven.thing}/properties/activeEnergyImport")).json()
    assert (fallen["value"], "inconsistent" in fallen["quality"]) == (4_000, True), fallen


async def test_a_thousand_handshakes_at_once_keep_no_ven_out(vtn) -> None:
    ven = await vtn.ven()
    host, port = vtn.url.removeprefix("https://").split(":")

    async def half_open():
        try:
            _, writer = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0))
        except OSError:
            return None
        writer.write(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello, and no more
        return writer

    strangers = [one for _ in range(10) for one in await asyncio.gather(*(half_open() for _ in range(100)))]
    try:
        ven.http = await vtn.client(ven.issued)  # a connection of its own
        assert (await ven.say(m.QueryRegistration(request_id="q"))).response.code == 200
    finally:
        for writer in filter(None, strangers):
            writer.transport.abort()
