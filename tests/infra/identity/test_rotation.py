"""Keys are replaced and tokens ended: at once where they must, without an outage where they may."""

import socket
import ssl
import threading
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gridspine.infra.identity import jws
from gridspine.infra.identity.custody import RETIREMENT_S
from gridspine.infra.runtime.clock import SystemClock

Reason = Callable[..., str]
PASSWORD = "correct horse battery"


def test_a_revoked_token_stays_so_after_a_restart(world, reason_of: Reason) -> None:
    client, key = world.client("operator")
    one, other = world.token(client, key), world.token(client, key)
    world.identity.revoke_token(one, client)
    for identity in (world.identity, world.start()):
        assert reason_of(identity.tokens.verify, one) == "revoked"
        assert identity.tokens.verify(other).sub == client.id


def test_what_ran_out_is_forgotten(world) -> None:
    client, key = world.client("operator")
    for _ in range(64):
        world.identity.revoke_token(world.token(client, key), client)
    assert len(world.start().tokens._revoked) == 64
    world.clock.step_wall(301)
    world.identity.revoke_token(world.token(client, key), client)
    assert len(world.start().tokens._revoked) == 1


def test_a_retired_token_key_proves_nothing_without_a_restart(world, reason_of: Reason) -> None:
    """Whoever stole it could sign tokens for ever."""
    stolen = world.identity.custody.token_keys()[0].key
    client, key = world.client("operator")
    claims = world.identity.tokens.verify(world.token(client, key))
    world.clock.step_wall(1)
    world.identity.rotate_token_key()
    world.clock.step_wall(RETIREMENT_S + 1)
    body = {"iss": claims.iss, "aud": claims.aud, "sub": client.id, "client_id": client.id, "iat": world.now_s(),
            "exp": world.now_s() + 60, "jti": "x", "scope": "operator", "sid": claims.sid, "epoch": 0}  # fmt: skip
    forged = jws.sign({"typ": "at+jwt", "kid": str(stolen.kid)}, body, stolen)
    assert reason_of(world.identity.tokens.verify, forged) == "unknown-key"
    assert len(world.identity.tokens.jwks()["keys"]) == 1


def test_a_stolen_token_key_is_replaced_at_once(world, reason_of: Reason) -> None:
    client, key = world.client("operator")
    old = world.token(client, key)
    world.identity.rotate_token_key(at_once=True)
    assert reason_of(world.identity.tokens.verify, old) == "unknown-key"
    assert len(list((world.folder / "keys").glob("token-*"))) == 1
    assert world.identity.tokens.verify(world.token(client, key)).sub == client.id


def test_pages_loaded_before_the_session_key_was_replaced_go_on(world) -> None:
    world.principal()
    user = world.identity.users.add("acme", "alice", PASSWORD, ())
    cookie = world.identity.sessions.open(user, 0)
    session = world.identity.sessions.find(cookie)
    before = world.identity.sessions.csrf_token(session)
    world.identity.rotate_secret("cookies")
    for identity in (world.identity, world.start()):
        assert identity.sessions.csrf_token(session) != before
        assert identity.sessions.csrf_fits(session, before)
        assert identity.sessions.csrf_fits(session, identity.sessions.csrf_token(session))
        assert not identity.sessions.csrf_fits(session, before[:-1] + "x")
    world.identity.rotate_secret("cookies")
    assert not world.identity.sessions.csrf_fits(session, before), "two keys ago"


def test_device_passwords_outlive_the_key_they_are_kept_with(world) -> None:
    device, idle = world.principal("device", kind="device"), world.principal("device", kind="device")
    password, unused = world.identity.devices.set_new(device), world.identity.devices.set_new(idle)
    caller = world.identity.by_password(device.id, password)
    world.identity.rotate_secret("devices")
    assert world.identity.holds(caller), "what is connected stays connected"
    assert world.identity.by_password(device.id, password) == caller
    assert world.start().by_password(device.id, password) == caller
    world.identity.rotate_secret("devices")
    assert world.identity.by_password(device.id, password) == caller, "kept anew at its use between the two"
    assert not world.identity.devices.check(idle.id, unused), "not used for two keys: it needs a new one"


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


class Client:
    """A client certificate and the authorities its owner trusts."""

    def __init__(self, world, folder) -> None:
        self.folder = folder
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        self.pem = world.identity.authority.issue(world.principal("operator"), request(key))
        (folder / "crt").write_bytes(self.pem)
        (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.trust = world.identity.authority.ca_pem

    def reaches(self, context: ssl.SSLContext) -> bool:
        """Whether a handshake with a server of ``context`` succeeds, both sides proven."""
        mine = ssl.create_default_context(cadata=self.trust.decode())
        mine.load_cert_chain(self.folder / "crt", self.folder / "key")
        here, there = socket.socketpair()
        seen: list[bytes | None] = []

        def serve() -> None:
            try:
                with context.wrap_socket(there, server_side=True) as server:
                    seen.append(server.getpeercert(binary_form=True))
                    server.recv(1)
            except OSError:
                there.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with mine.wrap_socket(here, server_hostname="localhost") as client:
                client.send(b"x")
                client.recv(1)
        except ssl.SSLError:
            return False
        finally:
            here.close()
            thread.join(10)
        der = x509.load_pem_x509_certificate(self.pem).public_bytes(Encoding.DER)
        return seen == [der]


def test_the_authority_is_replaced_without_an_outage(world, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One listening server all the while: its context is kept up to date."""
    monkeypatch.setattr(world, "clock", SystemClock())
    world.start()
    authority = world.identity.authority
    context = authority.server_context()
    first = Client(world, tmp_path / "first")
    assert first.reaches(context)
    assert authority.rotate(), "begun"
    second = Client(world, tmp_path / "second")
    assert second.trust.count(b"BEGIN") == 2
    assert first.reaches(context)
    assert second.reaches(context), "a certificate of the new authority, a server of the old"
    assert second.reaches(world.start().authority.server_context()), "also after a restart in between"
    authority = world.identity.authority
    context = authority.server_context()
    assert not authority.rotate(), "ended"
    assert second.reaches(context)
    assert not first.reaches(context), "who never fetched the authorities anew does not trust the server now"
    first.trust = authority.ca_pem
    assert first.reaches(context), "its own certificate is good all the same"
    assert first.reaches(world.start().authority.server_context())
    assert authority.ca_pem.count(b"BEGIN") == 1
    names = sorted(path.name for path in (world.folder / "keys").glob("ca*"))
    assert names == ["ca-old.crt", "ca.crt", "ca.pem"]


def test_a_crash_while_the_authority_is_replaced_is_made_good(world, tmp_path) -> None:
    authority, keys = world.identity.authority, world.folder / "keys"
    authority.rotate()
    following = (keys / "ca-next.crt").read_bytes()
    (keys / "ca.pem").write_bytes((keys / "ca-next.pem").read_bytes())
    again = world.start().authority
    assert again.ca_pem == following
    assert not (keys / "ca-next.crt").exists()
    (keys / "ca-next.pem").write_bytes(b"a key without its certificate")
    (keys / "ca-next.pem").chmod(0o600)
    world.start()
    assert not (keys / "ca-next.pem").exists()


def test_who_listens_hears_of_every_change_once_it_is_in_force(world) -> None:
    client, key = world.client("operator")
    heard: list[tuple[str, bool]] = []
    identity = world.identity
    caller = identity.by_dpop(
        text := world.token(client, key), world.proof(key, "GET", "https://n/", text), method="GET", url="https://n/"
    )
    identity.watch.listen(lambda principal: heard.append((principal, identity.holds(caller))))
    kid = identity.directory.keys_of(client.id)[0].kid
    pem = identity.authority.issue(client, request(ec.generate_private_key(ec.SECP256R1())))
    certificate = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    from gridspine.infra.identity.certificate import thumbprint

    identity.directory.set_roles(client.id, ("auditor",))
    identity.directory.set_roles(client.id, ("operator",))
    identity.authority.revoke(thumbprint(certificate))
    identity.new_device_password(client.id)
    identity.devices.clear(client.id)
    identity.directory.remove_key(kid)
    identity.directory.revoke_issued(client.id)
    identity.directory.deactivate(client.id)
    identity.directory.reactivate(client.id)
    assert [holds for _, holds in heard] == [False, True, True, True, True, False, False, False, False]
    assert {principal for principal, _ in heard} == {client.id}


def test_a_listeners_fault_is_its_own(world) -> None:
    client, _ = world.client("operator")
    heard: list[str] = []

    def broken(principal: str) -> None:
        raise RuntimeError("planted")

    world.identity.watch.listen(broken)
    world.identity.watch.listen(heard.append)
    world.identity.directory.deactivate(client.id)
    assert heard == [client.id]
    world.identity.watch.forget(heard.append)
    world.identity.watch.forget(broken)


def test_a_new_password_ends_the_sessions_of_the_old(world, reason_of: Reason) -> None:
    world.principal()
    alice = world.identity.users.add("acme", "alice", PASSWORD, ())
    cookie = world.identity.sign_in("alice", PASSWORD, "192.0.2.1")
    world.identity.set_password(alice.id, "another horse battery")
    assert reason_of(world.identity.by_cookie, cookie) == "session-ended"
    assert reason_of(world.identity.sign_in, "alice", PASSWORD, "192.0.2.1") == "wrong-password"
    assert world.identity.by_cookie(world.identity.sign_in("alice", "another horse battery", "192.0.2.1"))
