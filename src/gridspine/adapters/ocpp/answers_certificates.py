"""What a charge point is answered about certificates: its own requests wait for a person, the rest is not done here.

::

    SignCertificate ─► kept: action `station` shows it ─► a person issues it (POST /principals/{device}/certificates)
                                                              └─► action `sendCertificate` ─► CertificateSigned

The adapter makes no certificates: who may issue one for the device decides, and no charge point gets one by asking.
Revocation and the contracts of ISO 15118 are asked of others, over the internet: answered as failed, with the reason.

Source: OCPP 1.6 security whitepaper (edition 3) and OCPP 2.0.1 and 2.1 Part 2, use cases A and M, as their JSON schemas
have the messages.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gridspine.adapters.ocpp.chargepoint import ChargePoint

Payload = dict[str, Any]
OWN = "ChargingStationCertificate"
_NOT_HERE = {"reasonCode": "NotHere", "additionalInfo": "this node asks no authority of others"}


async def sign_certificate(point: ChargePoint, said: Payload) -> Payload:
    """Keep a certificate request until a person has a certificate issued for it; refuse what is none."""
    kind, reason = said.get("certificateType", OWN), ""
    if kind != OWN:
        reason = f"{kind}: this node signs no certificates of ISO 15118"
    elif not _is_request(said["csr"]):
        reason = "csr: it is not a certificate request in PEM (PKCS #10) that is signed by its own key"
    if reason:
        return _failed("Rejected", point, {"reasonCode": "NoCertificate", "additionalInfo": reason})
    await point.noticed("SignCertificate", said)
    return {"status": "Accepted"}


async def certificate_status(point: ChargePoint, said: Payload) -> Payload:
    """Say that nobody is asked about a certificate here."""
    return _failed("Failed", point, _NOT_HERE)


async def chain_status(point: ChargePoint, said: Payload) -> Payload:
    """Say the same of each certificate of a chain (2.1)."""
    asked, now = said["certificateStatusRequests"], point.now()
    answers = [
        {"certificateHashData": one["certificateHashData"], "source": one["source"], "status": "Failed",
         "nextUpdate": now}
        for one in asked
    ]  # fmt: skip
    return {"certificateStatus": answers}


async def vehicle_certificate(point: ChargePoint, said: Payload) -> Payload:
    """Say that vehicles get no contract certificates here."""
    return _failed("Failed", point, _NOT_HERE) | {"exiResponse": ""}


def _failed(status: str, point: ChargePoint, info: Payload) -> Payload:
    return {"status": status, **({} if point.version == "1.6" else {"statusInfo": info})}


def _is_request(pem: str) -> bool:
    try:
        return x509.load_pem_x509_csr(pem.encode()).is_signature_valid
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return False


ANSWERS_CERTIFICATES: dict[str, Callable[[ChargePoint, Payload], Awaitable[Payload]]] = {
    "SignCertificate": sign_certificate,
    "GetCertificateStatus": certificate_status,
    "GetCertificateChainStatus": chain_status,
    "Get15118EVCertificate": vehicle_certificate,
}
