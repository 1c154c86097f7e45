"""The node's certificate authority."""

import datetime
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from gridspine.infra.identity.certificate import CLIENT_LIFE_S, RENEW_BEFORE_S, SERVER_LIFE_S, thumbprint
from gridspine.infra.identity.service import Identity
from gridspine.kernel.errors import Conflict, Corrupt, Invalid, NotFound
from gridspine.kernel.time import to_datetime

Reason = Callable[..., str]


def request_for(key, *extensions: x509.ExtensionType) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever it says")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.mark.parametrize("make", [lambda: ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate])
def test_a_client_certificate_names_its_principal_and_proves_it(world, make) -> None:
    device = world.principal("device", kind="device")
    key = make()
    pem = world.identity.authority.issue(device, request_for(key))
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.public_key() == key.public_key()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [device.id]
    caller = world.identity.by_certificate(der_of(pem))
    assert (caller.principal, caller.how, caller.roles) == (device.id, "mtls", {"device"})
    assert caller.session == f"certificate:{thumbprint(der_of(pem))}"
    store = Store([world.identity.authority.certificate])
    verifier = PolicyBuilder().store(store).time(to_datetime(world.clock.now_us())).build_client_verifier()
    assert verifier.verify(certificate, []).subjects


def test_a_request_cannot_ask_for_names_or_powers(world) -> None:
    device = world.principal()
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = [
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:x:administrator")]),
        x509.BasicConstraints(ca=True, path_length=None),
    ]
    certificate = x509.load_pem_x509_certificate(world.identity.authority.issue(device, request_for(key, *wanted)))
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert b"administrator" not in certificate.public_bytes(Encoding.DER)


def test_requests_that_prove_nothing_are_refused(world) -> None:
    device = world.principal()
    good = request_for(ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    weak = request_for(rsa.generate_private_key(65537, 2048))
    for pem in (b"", b"-----BEGIN CERTIFICATE REQUEST-----", forged, weak):
        with pytest.raises(Invalid):
            world.identity.authority.issue(device, pem)
    assert world.identity.authority.issued_to(device.id) == []


def test_certificates_end_by_revocation_time_and_deactivation(world, reason_of: Reason) -> None:
    device = world.principal("device", kind="device")
    identity: Identity = world.identity
    revoked, kept = (
        der_of(identity.authority.issue(device, request_for(ec.generate_private_key(ec.SECP256R1())))) for _ in "ab"
    )
    identity.authority.revoke(thumbprint(revoked))
    with pytest.raises(NotFound):
        identity.authority.revoke("nothing")
    for now in (identity, world.start()):
        assert reason_of(now.by_certificate, revoked) == "wrong-certificate"
        caller = now.by_certificate(kept)
    identity = world.identity
    assert identity.holds(caller)
    identity.directory.deactivate(device.id)
    assert not identity.holds(caller)
    assert reason_of(identity.by_certificate, kept) == "inactive"
    identity.directory.reactivate(device.id)
    assert identity.by_certificate(kept).principal == device.id
    world.clock.step_wall(CLIENT_LIFE_S)
    assert reason_of(identity.by_certificate, kept) == "wrong-certificate"


def test_a_strangers_certificate_with_our_names_is_nobodys(world, reason_of: Reason) -> None:
    device = world.principal("device", kind="device")
    key = ec.generate_private_key(ec.SECP256R1())
    ours = x509.load_pem_x509_certificate(world.identity.authority.issue(device, request_for(key)))
    now = datetime.datetime.now(datetime.UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(ours.subject)
        .issuer_name(ours.issuer)
        .serial_number(ours.serial_number)
        .public_key(ours.public_key())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device.id)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    assert reason_of(world.identity.by_certificate, forged.public_bytes(Encoding.DER)) == "wrong-certificate"
    assert reason_of(world.identity.by_certificate, b"") == "wrong-certificate"


def of_another(world, *, days: int = 1) -> x509.Certificate:
    """Return a certificate of an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    now = to_datetime(world.clock.now_us())
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9))
    return made.not_valid_after(now + datetime.timedelta(days=days)).sign(key, hashes.SHA256())


def test_a_certificate_of_another_authority_is_known_until_it_ends(world, reason_of: Reason) -> None:
    identity, device, other = world.identity, world.principal("device", kind="device"), world.principal("other")
    authority, made = identity.authority, of_another(world)
    pem, der = made.public_bytes(Encoding.PEM), made.public_bytes(Encoding.DER)
    active = lambda id_: identity.directory.active(id_) is not None  # noqa: E731
    assert reason_of(identity.by_certificate, der) == "wrong-certificate"
    assert authority.register(device, pem, active=active) == der
    assert identity.by_certificate(der).principal == device.id
    assert [one.foreign for one in authority.issued_to(device.id)] == [True]
    with pytest.raises(Conflict):
        authority.register(other, pem, active=active)
    identity.directory.deactivate(device.id)
    assert reason_of(identity.by_certificate, der) == "inactive"
    authority.register(other, pem, active=active)
    assert identity.by_certificate(der).principal == other.id
    authority.revoke(thumbprint(der))
    assert reason_of(identity.by_certificate, der) == "wrong-certificate"
    for bad in (b"", b"-----BEGIN CERTIFICATE-----", of_another(world, days=-1).public_bytes(Encoding.PEM)):
        with pytest.raises(Invalid):
            authority.register(other, bad, active=active)


def test_the_server_certificate_is_kept_until_it_must_change(world) -> None:
    authority = world.identity.authority
    first = authority.server_certificate(["node.example", "192.0.2.7"])
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "node.example"]
    assert [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "192.0.2.7"]
    assert authority.server_certificate(["node.example", "192.0.2.7"]) == first
    assert authority.server_certificate(["node.example"]) != first
    second = authority.server_certificate(["node.example"])
    world.clock.step_wall(SERVER_LIFE_S - RENEW_BEFORE_S + 1)
    renewed = authority.server_certificate(["node.example"])
    assert renewed != second
    assert x509.load_pem_x509_certificate(renewed).public_key() == x509.load_pem_x509_certificate(second).public_key()
    with pytest.raises(Invalid, match="xn--"):
        authority.server_certificate(["münchen.example"])


def test_the_authority_stays_the_same_and_signs_end_entities_only(world) -> None:
    before = world.identity.authority.ca_pem
    assert world.start().authority.ca_pem == before
    certificate = x509.load_pem_x509_certificate(before)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_a_certificate_that_is_not_of_the_key_beside_it_is_noticed(world) -> None:
    (world.folder / "keys" / "ca.pem").unlink()
    with pytest.raises(Corrupt, match=r"ca\.pem"):
        world.start()
