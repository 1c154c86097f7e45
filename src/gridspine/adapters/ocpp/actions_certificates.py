"""Actions around certificates that charge points hold: install, list, delete, and send what one asked to be signed.

Source: OCPP 1.6 security whitepaper (edition 3) and OCPP 2.0.1 Part 2, use case M, as their JSON schemas have the
messages.
"""

from typing import Any, Literal

import msgspec

from gridspine.adapters.ocpp.actions_charging import ActionInput
from gridspine.adapters.ocpp.asked import Action, Asked, Payload, Refused

Use = Literal["system", "manufacturer", "v2g", "mobility"]
_NAMES_16 = {"system": "CentralSystemRootCertificate", "manufacturer": "ManufacturerRootCertificate"}
_NAMES_2 = {
    "system": "CSMSRootCertificate", "manufacturer": "ManufacturerRootCertificate", "v2g": "V2GRootCertificate",
    "mobility": "MORootCertificate",
}  # fmt: skip


class Certificate(ActionInput, frozen=True):
    """A root ``certificate`` (PEM), and what it is there for."""

    use: Use
    certificate: str


class Uses(ActionInput, frozen=True):
    """Certificates of which use."""

    use: Use = "system"


class Chain(ActionInput, frozen=True):
    """A ``certificate`` (PEM) of the charge point, with those that it was issued by behind it."""

    certificate: str


class Hashes(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A certificate as charge points name one (CertificateHashDataType)."""

    hash_algorithm: Literal["SHA256", "SHA384", "SHA512"]
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


async def install(asked: Asked) -> Any:
    """Have the charge point trust a root certificate."""
    given = asked.input(Certificate)
    payload = {"certificateType": _name(asked, given.use), "certificate": given.certificate}
    await asked.accepted("InstallCertificate", payload)
    return {"status": "Accepted"}


async def listed(asked: Asked) -> Any:
    """List the root certificates the charge point trusts for a use, by their hashes."""
    kind = _name(asked, asked.input(Uses).use)
    named: Any = kind if asked.version == "1.6" else [kind]
    answer = await asked.accepted("GetInstalledCertificateIds", {"certificateType": named}, {"Accepted", "NotFound"})
    if asked.version == "1.6":
        return {"certificates": answer.get("certificateHashData", [])}
    return {"certificates": [one["certificateHashData"] for one in answer.get("certificateHashDataChain", ())]}


async def delete(asked: Asked) -> Any:
    """Have the charge point give up a certificate that it listed."""
    given: Payload = msgspec.to_builtins(asked.input(Hashes))
    await asked.accepted("DeleteCertificate", {"certificateHashData": given})
    return {"status": "Accepted"}


async def send(asked: Asked) -> Any:
    """Send the charge point the certificate that was issued for its request; it may refuse one that does not fit."""
    chain = asked.input(Chain).certificate
    request = asked.point.record.notices.get("SignCertificate")
    if request is None:
        raise Refused("the charge point asked for no certificate (SignCertificate): action trigger has it ask")
    payload: Payload = {"certificateChain": chain}
    if asked.version != "1.6":
        payload["certificateType"] = "ChargingStationCertificate"
    if asked.version == "2.1":
        payload["requestId"] = request.get("requestId")
    await asked.accepted("CertificateSigned", payload)
    return {"status": "Accepted"}


def _name(asked: Asked, use: Use) -> str:
    name = (_NAMES_16 if asked.version == "1.6" else _NAMES_2).get(use)
    if name is None:
        raise asked.lacks(f"certificates for {use}")
    return name


ACTIONS: dict[str, Action] = {
    "installCertificate": install,
    "listCertificates": listed,
    "deleteCertificate": delete,
    "sendCertificate": send,
}
