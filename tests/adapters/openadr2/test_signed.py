"""The VTN takes what is signed as signed by who it is: once, in time, and by a certificate that it knows."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import signature, wire
from gridspine.kernel.time import US

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Pen:
    """Signs for a VEN, by its certificate or another."""

    def __init__(self, vtn, issued):
        self.clock, self.vtn, self.signed = vtn.world.node.clock, vtn, 0
        self.signer = signature.Signer(issued.crt.read_bytes(), issued.pem.read_bytes())

    def sign(self, message, *, late_s=0.0, nonce=""):
        self.signed += 1
        at_us = self.clock.now_us() + round(late_s * US)
        return self.signer.sign(message, at_us, nonce or f"{id(self)}-{self.signed}")

    def opened(self, body):
        """Return what the VTN signed by the certificate of its listener."""
        der = self.vtn.pki.server.certificate.public_bytes(Encoding.DER)
        assert signature.certificate_in(body) == der
        return signature.verify(body, der, self.clock.now_us())


async def test_what_is_signed_is_answered_signed_and_taken_once(vtn):
    ven = await vtn.ven()
    pen = Pen(vtn, ven.issued)
    body = pen.sign(m.CreatePartyRegistration(request_id="r", ven_id=ven.id, http_pull=True))
    made = await ven.say(m.CreatePartyRegistration(request_id="r"), body=body)
    assert made.response.code == 200
    one = pen.opened(ven.heard)
    assert one.message == made
    # shown again, late, or early it is refused, whatever it says
    for again in (body, pen.sign(m.Poll(ven_id=ven.id), late_s=-300), pen.sign(m.Poll(ven_id=ven.id), late_s=300)):
        refused = await ven.say(m.Poll(ven_id=ven.id), "OadrPoll", body=again)
        assert (refused.response.code, "ReplayProtect" in refused.response.description) == (463, True)
    # it did not ask that all be signed, so what is not still does
    assert (await ven.poll()).response.code == 200
    assert b"Signature" not in ven.heard
    poll = pen.sign(m.Poll(ven_id=ven.id))
    assert (await ven.say(m.Poll(ven_id=ven.id), body=poll)).response.code == 200
    assert pen.opened(ven.heard).nonce != one.nonce
    changed = pen.sign(m.Poll(ven_id="someone")).replace(b"someone", ven.id.encode())
    refused = await ven.say(m.Poll(ven_id=ven.id), body=changed)
    assert (refused.response.code, "does not hold" in refused.response.description) == (463, True)


async def test_who_asks_for_signatures_is_not_heard_without(vtn):
    ven = await vtn.ven()
    pen = Pen(vtn, ven.issued)
    asked = m.CreatePartyRegistration(request_id="r", http_pull=True, xml_signature=True)
    assert (await ven.say(asked, body=pen.sign(asked))).response.code == 200
    weaker = m.CreatePartyRegistration(request_id="r", ven_id=ven.id, http_pull=True)
    for said in (m.Poll(ven_id=ven.id), weaker, m.QueryRegistration(request_id="q")):
        refused = await ven.say(said)
        assert (refused.response.code, "signed" in refused.response.description) == (463, True), said
    await vtn.restart()
    ven.http = await vtn.client(ven.issued)
    pen.clock = vtn.world.node.clock
    assert (await ven.poll()).response.code == 463
    told = await ven.say(m.Poll(ven_id=ven.id), body=pen.sign(m.Poll(ven_id=ven.id)))
    assert told.response.code == 200
    pen.opened(ven.heard)
    # what was signed before the node was there may be a repeat that it does not remember
    old = await ven.say(m.Poll(ven_id=ven.id), body=pen.sign(m.Poll(ven_id=ven.id), late_s=-60))
    assert (old.response.code, "before what is remembered" in old.response.description) == (463, True)


async def test_an_operator_says_that_a_ven_signs(vtn):
    ven = await vtn.ven(signature="required")
    pen = Pen(vtn, ven.issued)
    asked = m.CreatePartyRegistration(request_id="r", http_pull=True)
    assert (await ven.say(asked)).response.code == 463
    assert (await ven.say(asked, body=pen.sign(asked))).response.code == 200
    # nobody else's key signs for it, known or not; another certificate of its own does
    other = await vtn.ven()
    for issued in (other.issued, vtn.pki.device("stranger-who-signs")):
        body = Pen(vtn, issued).sign(m.Poll(ven_id=ven.id))
        refused = await ven.say(m.Poll(ven_id=ven.id), body=body)
        assert (refused.response.code, "not known" in refused.response.description) == (463, True)
    second = vtn.pki.device("second")
    certificate = {"certificate": second.crt.read_text()}
    path = f"/principals/{ven.principal}/known-certificates"
    answer = await vtn.world.op.post(path, json=certificate)
    assert answer.status_code in {200, 201}, answer.text
    body = Pen(vtn, second).sign(m.Poll(ven_id=ven.id))
    assert (await ven.say(m.Poll(ven_id=ven.id), body=body)).response.code == 200


async def test_a_large_message_is_signed_too(vtn):
    ven = await vtn.ven()
    pen = Pen(vtn, ven.issued)
    payload = (r.ReportPayload(rid="p", value=1.5),)
    intervals = tuple(r.ReportInterval(start_us=n * US, payloads=payload) for n in range(1, 700))
    report = r.Report(intervals=intervals, request_id="x", specifier_id="s", created_us=US)
    said = r.UpdateReport(request_id="1", reports=(report,), ven_id=ven.id)
    body = pen.sign(said)
    assert len(body) > 100_000
    assert (await ven.say(said, body=body)).response.description.startswith("you are not registered")
    pen.opened(ven.heard)
    assert wire.read(body) == said
