"""Signatures: what was signed comes back, and only that; whatever else stands in a payload is refused."""

import base64
import datetime
import re
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from csip_pki import Pki
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from openadr2_said import MESSAGES
from signxml import CanonicalizationMethod, SignatureConstructionMethod, XMLSigner

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2 import replay, signature, wire
from gridspine.adapters.openadr2.document import NAMESPACES, decode
from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.adapters.openadr2.replay import Replays
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US

NOW_US = int(datetime.datetime.now(datetime.UTC).timestamp()) * US
POLL = m.Poll(ven_id="ven-1")
C14N = CanonicalizationMethod.CANONICAL_XML_1_0.value.encode()
PKI = None


def pem(key):
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *plain)


def issued(key, days=(-1, 30)):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ven")])
    begin, end = (datetime.datetime.fromtimestamp(NOW_US / US, datetime.UTC) + datetime.timedelta(one) for one in days)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    return made.sign(key, hashes.SHA256())


class Party:
    def __init__(self, key, **more):
        self.key, self.certificate = key, issued(key, **more)
        self.crt = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.signer = signature.Signer(self.crt, pem(key))


ONE = Party(ec.generate_private_key(ec.SECP256R1()))
OTHER = Party(ec.generate_private_key(ec.SECP256R1()))
SIGNED = ONE.signer.sign(POLL, NOW_US, "nonce-1")


@settings(max_examples=25, deadline=None)
@given(MESSAGES)
def test_any_message_comes_back(message):
    body = ONE.signer.sign(message, NOW_US, "n")
    decode(body)
    found = signature.verify(body, ONE.der, NOW_US)
    assert (found.at_us, found.nonce) == (NOW_US, "n")
    if not isinstance(message, r.UpdateReport | r.RegisterReport):  # either a number or a status is said
        assert found.message == message
    assert wire.write(found.message) == wire.write(wire.read(body))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 7))
def test_no_bit_can_be_changed(at, bit):
    body = bytearray(SIGNED)
    body[at] ^= 1 << bit
    try:
        decode(bytes(body))
        found = signature.verify(bytes(body), ONE.der, NOW_US)
    except (Invalid, BadSignature):
        return
    assert found == signature.Signed(POLL, NOW_US, "nonce-1")  # of what is not signed, the certificate's place


def test_an_rsa_key_signs_too():
    party = Party(rsa.generate_private_key(65537, 2048))
    body = party.signer.sign(POLL, NOW_US, "n")
    assert signature.certificate_in(body) == party.der
    assert signature.verify(body, party.der, NOW_US).message == POLL


def object_of(body):
    return re.search(rb"<oadr:oadrSignedObject.*</oadr:oadrSignedObject>", body)[0]


EVIL = object_of(wire.write(m.Poll(ven_id="ven-2"))).replace(b'oadr:Id="oadrSignedObject"', b'oadr:Id="evil"')
PROPERTY = b"http://www.w3.org/2000/09/xmldsig#"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (SIGNED.replace(b"ven-1", b"ven-2"), "does not hold"),
        (SIGNED.replace(b"nonce-1", b"nonce-2"), "does not hold"),
        (re.sub(rb"<dsp:timestamp>2", b"<dsp:timestamp>3", SIGNED), "does not hold"),
        # wrapping: what was signed is moved out of the way of what is to be done
        (SIGNED.replace(b"</oadr:oadrPayload>", EVIL + b"</oadr:oadrPayload>"), "nothing else"),
        (SIGNED.replace(b"<ds:Signature ", EVIL + b"<ds:Signature ", 1), "nothing else"),
        (
            SIGNED.replace(object_of(SIGNED), EVIL).replace(b"</ds:Object>", object_of(SIGNED) + b"</ds:Object>"),
            "another oadrSignedObject",
        ),
        (SIGNED.replace(object_of(SIGNED), EVIL), "exactly one element"),
        (SIGNED.replace(b"<oadr:oadrPoll ", b'<oadr:oadrPoll Id="oadrSignedObject" '), "exactly one element"),
        (SIGNED.replace(b"<oadr:oadrPoll ", b'<oadr:oadrPoll ID="prop" '), "exactly one element"),
        # references
        (SIGNED.replace(b'URI="#prop"', b'URI="#oadrSignedObject"'), "one is to"),
        (SIGNED.replace(b'URI="#oadrSignedObject"', b'URI="#prop"'), "one is to"),
        (SIGNED.replace(b'URI="#oadrSignedObject"', b'URI=""'), "exactly one element"),
        (SIGNED.replace(b'URI="#oadrSignedObject"', b'URI="http://127.0.0.1:9/x"'), "exactly one element"),
        (SIGNED.replace(b'URI="#oadrSignedObject"', b"URI=\"#xpointer(id('prop'))\""), "exactly one element"),
        (re.sub(rb'<ds:Reference URI="#prop">.*?</ds:Reference>', b"", SIGNED), "two references"),
        # algorithms
        (SIGNED.replace(b"04/xmlenc#sha256", b"04/xmldsig-more#md5"), "does not hold"),
        (SIGNED.replace(b"2001/04/xmldsig-more#ecdsa-sha256", b"2001/04/xmldsig-more#ecdsa-sha1"), "SHA1 forbidden"),
        (SIGNED.replace(b"2001/04/xmldsig-more#ecdsa-sha256", b"2000/09/xmldsig#rsa-sha1"), "SHA1 forbidden"),
        (SIGNED.replace(b"04/xmldsig-more#ecdsa-sha256", b"04/xmldsig-more#hmac-sha256"), "HMAC_SHA256 forbidden"),
        # transforms
        *(
            (SIGNED.replace(b'<ds:Transform Algorithm="' + C14N, b'<ds:Transform Algorithm="' + other), "Transform")
            for other in (
                b"http://www.w3.org/TR/1999/REC-xslt-19991116", b"http://www.w3.org/TR/1999/REC-xpath-19991116",
                PROPERTY + b"base64", C14N + b"#WithComments", b"x",
            )
        ),
        (
            SIGNED.replace(b"</ds:Transforms>", b'<ds:Transform Algorithm="x"><ds:X/></ds:Transform></ds:Transforms>'),
            "Transform",
        ),
        (SIGNED.replace(C14N + b'"/><ds:SignatureM', C14N + b'#WithComments"/><ds:SignatureM'), "Canonicalization"),
        # two of what there is one of
        (re.sub(rb"(<ds:Signature .*</ds:Signature>)", rb"\1\1", SIGNED, flags=re.DOTALL), "nothing else"),
        (re.sub(rb"(<ds:Object .*</ds:Object>)", rb"\1\1", SIGNED), "one Object are needed"),
        (re.sub(rb"(<ds:SignedInfo>.*</ds:SignedInfo>)", rb"\1\1", SIGNED), "SignedInfo, "),
        (re.sub(rb"<ds:Object .*</ds:Object>", b"", SIGNED), "one Object are needed"),
        (wire.write(POLL), "one ds:Signature"),
    ],
)  # fmt: skip
def test_what_was_not_signed_so_is_refused(body, words):
    assert body != SIGNED
    decode(body)
    with pytest.raises(BadSignature, match=words):
        signature.verify(body, ONE.der, NOW_US)


def test_another_key_proves_nothing():
    with pytest.raises(BadSignature, match="does not hold"):
        signature.verify(SIGNED, OTHER.der, NOW_US)
    # another's certificate in it is no proof either: which key counts is not the signature's to say
    named = re.sub(rb"<ds:X509Certificate>[^<]*", b"<ds:X509Certificate>" + base64.b64encode(OTHER.der), SIGNED)
    assert signature.certificate_in(named) == OTHER.der
    with pytest.raises(BadSignature, match="does not hold"):
        signature.verify(named, OTHER.der, NOW_US)


def test_a_certificate_that_does_not_hold_and_a_weak_key_are_refused():
    late = Party(ec.generate_private_key(ec.SECP256R1()), days=(-9, -2))
    with pytest.raises(BadSignature, match="hold now"):
        signature.verify(late.signer.sign(POLL, NOW_US, "n"), late.der, NOW_US)
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(Invalid, match="2048"):
        signature.Signer(issued(weak).public_bytes(serialization.Encoding.PEM), pem(weak))
    with pytest.raises(BadSignature, match="2048"):
        signature.verify(SIGNED, issued(weak).public_bytes(serialization.Encoding.DER), NOW_US)
    with pytest.raises(Invalid, match="not the certificate's"):
        signature.Signer(ONE.crt, pem(OTHER.key))


class Lax(XMLSigner):
    """Signs as other programs do: by any algorithm, and with no transform but one that changes nothing."""

    def check_deprecated_methods(self):
        pass

    def _build_transforms_for_reference(self, *, transforms_node, **_):
        uri = SignatureConstructionMethod.enveloped.value
        etree.SubElement(transforms_node, f"{{{NAMESPACES['ds']}}}Transform", Algorithm=uri)


def by_hand(properties, *, cert=None, method="ecdsa-sha256", digest="sha256"):
    """Sign as other programs do: ``properties`` is what stands beside the message."""
    said = wire.signed_object(POLL)
    signer = Lax(
        method=SignatureConstructionMethod.detached, c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        signature_algorithm=method, digest_algorithm=digest,
    )  # fmt: skip
    signer.namespaces = {**signer.namespaces, "oadr": NAMESPACES["oadr"]}
    made = signer.sign(
        etree.fromstring(said), key=ONE.key, cert=cert, reference_uri="#oadrSignedObject",
        signature_properties=etree.fromstring(properties),
    )  # fmt: skip
    return wire.payload(said, etree.tostring(made, encoding="unicode")).encode()


def protect(inner):
    return f'<p:ReplayProtect xmlns:p="{NAMESPACES["dsp"]}" Id="a" Target="#b">{inner}</p:ReplayProtect>'


GOOD = protect("<p:timestamp>2026-02-03T04:05:06Z</p:timestamp><p:nonce>n</p:nonce>")


def test_a_signature_that_names_its_key_alone_and_no_canonical_xml_is_taken():
    body = by_hand(GOOD)
    assert (signature.certificate_in(body), b"KeyValue>" in body) == (None, True)
    found = signature.verify(body, ONE.der, NOW_US)
    assert (found.message, found.nonce, found.at_us) == (POLL, "n", 1_770_091_506 * US)
    with pytest.raises(BadSignature):
        signature.verify(body, OTHER.der, NOW_US)


@pytest.mark.parametrize("weak", [{"digest": "sha1"}, {"method": "ecdsa-sha1"}, {"digest": "sha224"}])
def test_a_weak_algorithm_is_refused_also_where_the_signature_holds(weak):
    with pytest.raises(BadSignature, match=r"SHA1|SHA224"):
        signature.verify(by_hand(GOOD, **weak), ONE.der, NOW_US)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (protect("<p:nonce>n</p:nonce>"), "timestamp and nonce"),
        (protect("<p:timestamp>2026-02-03T04:05:06Z</p:timestamp>"), "timestamp and nonce"),
        (protect("<p:timestamp>yesterday</p:timestamp><p:nonce>n</p:nonce>"), "timestamp"),
        (protect("<p:timestamp>2026-02-03T04:05:06Z</p:timestamp><p:nonce> </p:nonce>"), "1 to 200"),
        (protect(f"<p:timestamp>2026-02-03T04:05:06Z</p:timestamp><p:nonce>{'n' * 201}</p:nonce>"), "1 to 200"),
        ('<x xmlns="urn:x" Id="a" Target="#b"/>', "timestamp and nonce"),
    ],
)
def test_without_a_time_and_a_nonce_nothing_is_taken(properties, words):
    with pytest.raises(BadSignature, match=words):
        signature.verify(by_hand(properties), ONE.der, NOW_US)


def test_comments_change_nothing_of_what_was_signed():
    body = SIGNED.replace(b"ven-1<", b"ven<!-- -2 -->-1<").replace(b"nonce-1<", b"nonce-<!-- 2 -->1<")
    assert signature.verify(body, ONE.der, NOW_US) == signature.Signed(POLL, NOW_US, "nonce-1")


class Hand:
    def __init__(self, now_us):
        self.us = now_us

    def now_us(self):
        return self.us


def test_what_was_shown_once_is_not_taken_again(monkeypatch):
    clock = Hand(NOW_US)
    replays = Replays(clock, 10)
    clock.us += 30 * US
    replays.take("one", clock.us, "a")
    replays.take("other", clock.us, "a")
    for at_s, nonce, words in ((0, "a", "used before"), (11, "b", r"\+11 s"), (-11, "b", "-11 s")):
        with pytest.raises(BadSignature, match=words):
            replays.take("one", clock.us + at_s * US, nonce)
    ahead_us = clock.us + 10 * US
    replays.take("one", ahead_us, "c")
    clock.us += 20 * US  # as late as its timestamp would still do
    with pytest.raises(BadSignature, match="used before"):
        replays.take("one", ahead_us, "c")
    clock.us += 1
    with pytest.raises(BadSignature, match="-10 s"):
        replays.take("one", ahead_us, "c")
    monkeypatch.setattr(replay, "MAX_OF_ONE", 2)
    replays.take("one", clock.us, "d")
    replays.take("one", clock.us, "e")
    with pytest.raises(Overloaded):
        replays.take("one", clock.us, "f")
    replays.take("other", clock.us, "f")
    clock.us += 21 * US
    replays.take("one", clock.us, "f")
    # who begins anew remembers nothing, and takes nothing from before
    with pytest.raises(BadSignature, match="before what is remembered"):
        Replays(clock, 10).take("one", clock.us - 1, "d")


def test_a_clock_that_was_ahead_and_is_set_back_lets_nothing_be_shown_again():
    clock = Hand(NOW_US)
    replays = Replays(clock, 10)
    clock.us += 30 * US
    shown_us = clock.us
    replays.take("one", shown_us, "a")
    clock.us += 3600 * US
    replays.take("one", clock.us, "b")  # by now "a" is forgotten
    clock.us = shown_us + US
    with pytest.raises(BadSignature, match="before what is remembered"):
        replays.take("one", shown_us, "a")


def test_who_signs_nothing_loads_no_engine():
    words = "import sys, gridspine.adapters.openadr2; print([one for one in ('lxml', 'signxml') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_files_that_cannot_sign_are_named(tmp_path):
    from gridspine.adapters.openadr2.signing import certificates_of, make_signing

    device = Pki(tmp_path / "pki").device("ven")
    clock = Hand(NOW_US)
    assert certificates_of((str(device.crt),)) == {device.certificate.public_bytes(serialization.Encoding.DER)}
    for files in ((tmp_path / "none", device.pem), (device.crt, tmp_path / "none"), (device.pem, device.crt)):
        with pytest.raises(Invalid, match=r"none|cannot sign"):
            make_signing(clock, *map(str, files), 10)
