"""Certificates: a charge point's request waits for a person, and what others must be asked for fails."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from ocpp_bench import ONE, make_node, raw, serving

OK = {"status": "Accepted"}
HASHES = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "1"}


def request() -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CP001")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name)
    return made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_request_is_kept_for_a_person_and_the_certificate_sent_when_there_is_one(version):
    node, csr = make_node(), request()
    more = {"requestId": 7} if version == "2.1" else {}
    async with serving(node), raw(node, version) as point:
        await point.call("Heartbeat", {})
        state, _, reason = await node.request(ONE, "sendCertificate", {"certificate": "PEM"})
        assert (state, "asked for no certificate" in reason) == ("refused", True)
        assert await point.call("SignCertificate", {"csr": csr, **more}) == OK
        shown = (await node.request(ONE, "station", None))[1]
        assert shown["notices"]["SignCertificate"] == {"csr": csr, **more}
        point.answers = {"CertificateSigned": OK}
        asked = asyncio.create_task(node.request(ONE, "sendCertificate", {"certificate": "PEM"}))
        assert await point.answer_next() == "CertificateSigned"
        assert (await asked)[0] == "done"
    kind = {} if version == "1.6" else {"certificateType": "ChargingStationCertificate"}
    assert point.called == [("CertificateSigned", {"certificateChain": "PEM", **kind, **more})]


async def test_what_is_no_request_or_not_done_here_is_answered_as_that():
    node, csr = make_node(), request()
    chain = {"certificateStatusRequests": [{"certificateHashData": HASHES, "source": "OCSP", "urls": ["http://x"]}]}
    vehicle = {"iso15118SchemaVersion": "urn:x", "action": "Install", "exiRequest": "AA"}
    async with serving(node), raw(node, "2.1") as point:
        for said in ({"csr": "-----BEGIN"}, {"csr": csr, "certificateType": "V2GCertificate"}):
            answer = await point.call("SignCertificate", said)
            assert answer["status"] == "Rejected"
            assert answer["statusInfo"]["additionalInfo"]
        assert (await point.call("GetCertificateStatus", {"ocspRequestData": HASHES | {"responderURL": "http://x"}}))[
            "status"
        ] == "Failed"
        (status,) = (await point.call("GetCertificateChainStatus", chain))["certificateStatus"]
        assert (status["status"], status["certificateHashData"]) == ("Failed", HASHES)
        assert (await point.call("Get15118EVCertificate", vehicle))["status"] == "Failed"
        assert (await node.request(ONE, "station", None))[1]["notices"] == {}
