"""Signatures of OpenADR 2.0b payloads (XMLDSig): made, and taken apart so that only what was signed is read.

::

    oadrPayload ─ bounded, no DTD ─► shape of the signature ─► `signxml`, by one key ─► the bytes that were hashed
      ds:Signature                     two references, no more        │                    ├► ReplayProtect: time, nonce
        SignedInfo ► #oadrSignedObject, #ReplayProtect's          refused                  └► the message
        Object ► SignatureProperties ► ReplayProtect
      oadrSignedObject

A message is read from the very bytes whose digest was signed, so whatever else stands in the payload says nothing.
Whose key it has to be is the caller's to say: a certificate within the signature proves nothing by itself.

Taken: RSA (2048 bits and more) and ECDSA (256 and more) with SHA-256 and longer; references to elements of the payload,
canonical XML, inclusive or exclusive, without comments; *enveloped* where it changes nothing. No XPath, XSLT, base64.

Source: XML Signature 1.1 as `signxml` does it; the elements ``oadrPayload`` and ``ReplayProtect`` of the schema of
OpenADR 2.0b. How the certificate, key and references are told was taken from openleadr 0.5.36; other programs name the
key alone, or nothing. The specification's text was not read.
"""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from gridspine.adapters.openadr2.document import NAMESPACES, decode
from gridspine.adapters.openadr2.message import Message
from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.adapters.openadr2.wire import SIGNED_ID, message_of, payload, signed_object
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339

MAX_NONCE = 200
_DS, _DSP, _OADR = (f"{{{NAMESPACES[prefix]}}}" for prefix in ("ds", "dsp", "oadr"))
_TRANSFORMS = {
    one.value
    for one in (
        CanonicalizationMethod.CANONICAL_XML_1_0, CanonicalizationMethod.CANONICAL_XML_1_1,
        CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
}  # fmt: skip
_ENVELOPED = SignatureConstructionMethod.enveloped.value
_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_METHODS = frozenset(
    {SignatureMethod.RSA_SHA256, SignatureMethod.RSA_SHA384, SignatureMethod.RSA_SHA512,
     SignatureMethod.ECDSA_SHA256, SignatureMethod.ECDSA_SHA384, SignatureMethod.ECDSA_SHA512}
)  # fmt: skip
_EXPECTED = SignatureConfiguration(
    location="./", expect_references=2, signature_methods=_METHODS, digest_algorithms=_DIGESTS,
    default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
)  # fmt: skip
_PARTS = [f"{_DS}SignedInfo", f"{_DS}SignatureValue", f"{_DS}KeyInfo", f"{_DS}Object"]
_SIGNED_INFO = [f"{_DS}CanonicalizationMethod", f"{_DS}SignatureMethod", f"{_DS}Reference", f"{_DS}Reference"]


class Signed(NamedTuple):
    """What was signed: the message, when [µs since 1970], and the word that makes it the only one of its kind."""

    message: Message
    at_us: int
    nonce: str


def certificate_in(body: bytes) -> bytes | None:
    """Return the certificate (DER) that a payload's signature names first, None for none; raise `BadSignature`.

    ``body`` is one that `gridspine.adapters.openadr2.document.decode` takes. Nothing is proven by it.
    """
    named = _root(body).findtext(f"{_DS}Signature/{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate")
    if named is None:
        return None
    try:
        return base64.b64decode("".join(named.split()), validate=True)
    except ValueError as error:
        raise BadSignature("X509Certificate: this is no base64") from error


def verify(body: bytes, certificate_der: bytes, now_us: int) -> Signed:
    """Return what the key of a certificate signed; raise `BadSignature`, or `Invalid` where that is no message.

    ``body`` is one that `gridspine.adapters.openadr2.document.decode` takes; ``now_us`` [µs since 1970] is when the
    certificate has to hold. When it was signed, and whether it was shown before, is not asked here.
    """
    _check_shape(_root(body))
    certificate = _certificate(certificate_der, now_us)
    expected = replace(_EXPECTED, verification_time=datetime.fromtimestamp(now_us / US, UTC))
    try:
        found = XMLVerifier().verify(body, x509_cert=certificate, expect_config=expected, parser=_parser())
        parts = [decode(one.signed_data) for one in (found if isinstance(found, list) else [found])]
    except Exception as error:  # whatever stumbles over what a stranger wrote: nothing is proven by it
        raise BadSignature(f"the signature does not hold: {type(error).__name__}: {str(error)[:200]}") from error
    told = next((one for one in parts if one.name == "oadr:oadrSignedObject"), None)
    rest = next((one for one in parts if one is not told), None)
    if told is None or rest is None or rest.name not in {"ds:Object", "ds:SignatureProperties", "ds:SignatureProperty"}:
        raise BadSignature("references: one is to the oadrSignedObject, one to the signature's property ReplayProtect")
    for name in ("ds:SignatureProperties", "ds:SignatureProperty", "dsp:ReplayProtect"):
        rest = rest if rest is None or rest.name == name else (rest.find(name) or rest)
    stamp, nonce = rest.find("dsp:timestamp"), rest.find("dsp:nonce")
    if rest.name != "dsp:ReplayProtect" or stamp is None or nonce is None:
        raise BadSignature("ReplayProtect: timestamp and nonce are needed, and signed")
    if not 0 < len(nonce.text.strip()) <= MAX_NONCE:
        raise BadSignature(f"nonce: 1 to {MAX_NONCE} characters")
    try:
        at_us = parse_rfc3339(stamp.text.strip())
    except Invalid as error:
        raise BadSignature(f"ReplayProtect: timestamp: {error.detail}") from error
    return Signed(message_of(told), at_us, nonce.text.strip())


class Signer:
    """Signs by one key; ``certificates`` and ``key`` are PEM. Raises `Invalid` for what cannot sign."""

    def __init__(self, certificates: bytes, key: bytes) -> None:
        try:
            self._chain = x509.load_pem_x509_certificates(certificates)
            self._key = _load_key(key)
            if self._key.public_key() != self._chain[0].public_key():
                raise ValueError("the key is not the certificate's")
        except (ValueError, TypeError, IndexError) as error:
            raise Invalid(f"the certificate and its key cannot sign: {error}") from error
        _check_key(self._chain[0], Invalid)
        rsa_key = isinstance(self._key, rsa.RSAPrivateKey)
        self._method = SignatureMethod.RSA_SHA256 if rsa_key else SignatureMethod.ECDSA_SHA256

    @property
    def certificate_der(self) -> bytes:
        """The certificate that is named in signatures."""
        return self._chain[0].public_bytes(Encoding.DER)

    def sign(self, message: Message, now_us: int, nonce: str) -> bytes:
        """Return a payload with a signature made at ``now_us`` [µs since 1970]; no nonce is ever used again."""
        said = signed_object(message)
        protect = etree.Element(
            f"{_DSP}ReplayProtect", nsmap={"dsp": NAMESPACES["dsp"]}, attrib={"Id": "replay", "Target": "#signature"}
        )
        etree.SubElement(protect, f"{_DSP}timestamp").text = format_rfc3339(now_us)
        etree.SubElement(protect, f"{_DSP}nonce").text = nonce
        signer = XMLSigner(
            method=SignatureConstructionMethod.detached, signature_algorithm=self._method,
            digest_algorithm=DigestAlgorithm.SHA256, c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )  # fmt: skip
        # The payload around both has this name as its own: it is part of what is signed.
        signer.namespaces = {**signer.namespaces, "oadr": NAMESPACES["oadr"]}
        made = signer.sign(
            etree.fromstring(said.encode(), _parser()), key=self._key, cert=self._chain,
            reference_uri=f"#{SIGNED_ID}", signature_properties=protect,
        )  # fmt: skip
        return payload(said, etree.tostring(made, encoding="unicode")).encode()


def _root(body: bytes) -> etree._Element:
    try:
        return etree.fromstring(body, _parser())
    except (etree.LxmlError, ValueError) as error:
        raise BadSignature(f"this is no XML document: {str(error)[:100]}") from error


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)


def _tags(node: etree._Element) -> list[str]:
    return [str(one.tag) for one in node]  # of comments and the like, too: they are no tags that are expected


def _check_shape(root: etree._Element) -> None:
    """Raise `BadSignature` unless the payload holds one signature of one object, in the order of the schema."""
    if root.tag != f"{_OADR}oadrPayload" or _tags(root) != [f"{_DS}Signature", f"{_OADR}oadrSignedObject"]:
        raise BadSignature("oadrPayload: one ds:Signature and one oadrSignedObject are needed, and nothing else")
    if len(list(root.iter(f"{_OADR}oadrSignedObject"))) != 1 or len(list(root.iter(f"{_DS}Signature"))) != 1:
        raise BadSignature("oadrPayload: there is another oadrSignedObject or ds:Signature in it")
    signature = root[0]
    tags = _tags(signature)
    if tags not in (_PARTS, [one for one in _PARTS if not one.endswith("KeyInfo")]):
        raise BadSignature("ds:Signature: SignedInfo, SignatureValue, KeyInfo and one Object are needed")
    if _tags(signature[0]) != _SIGNED_INFO:
        raise BadSignature("SignedInfo: two references are needed: the oadrSignedObject, and ReplayProtect")
    if signature[0][0].get("Algorithm") not in _TRANSFORMS or len(signature[0][0]):
        raise BadSignature("CanonicalizationMethod: canonical XML without comments is needed")
    targets = [_check_reference(root, one) for one in signature[0][2:]]
    if root[1] not in targets or not any(signature[-1] in (one, *one.iterancestors()) for one in targets):
        raise BadSignature("references: one is to the oadrSignedObject, one to the signature's property ReplayProtect")


def _check_reference(root: etree._Element, reference: etree._Element) -> etree._Element:
    """Return the element that a reference is to; raise `BadSignature` where it is not one, or would be changed."""
    for one in reference.iterfind(f"{_DS}Transforms/*"):
        if one.get("Algorithm") not in _TRANSFORMS | {_ENVELOPED} or len(one):
            raise BadSignature("Transform: canonical XML without comments, and no other, is taken")
    name = reference.get("URI") or ""
    found = root.xpath("//*[@*[local-name()='Id' or local-name()='ID' or local-name()='id']=$id]", id=name[1:])
    if not name.startswith("#") or len(name) < 2 or not isinstance(found, list) or len(found) != 1:
        raise BadSignature("Reference: its URI is # and the Id of exactly one element")
    return found[0]


def _certificate(der: bytes, now_us: int) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError as error:
        raise BadSignature("the certificate cannot be read") from error
    if not begin.timestamp() <= now_us / US <= end.timestamp():
        raise BadSignature("the certificate does not hold now")
    _check_key(certificate, BadSignature)
    return certificate


def _check_key(certificate: x509.Certificate, wrong: type[Exception]) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256:
        return
    raise wrong("the key: RSA of 2048 bits, or an elliptic curve of 256, at least")


def _load_key(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("RSA or an elliptic curve is needed")
    return key


def pems(blocks: Sequence[bytes]) -> list[bytes]:
    """Return the certificates (DER) in files (PEM); raise `Invalid`."""
    try:
        found = [one for block in blocks for one in x509.load_pem_x509_certificates(block)]
    except ValueError as error:
        raise Invalid(f"this is no certificate: {error}") from error
    return [one.public_bytes(Encoding.DER) for one in found]
