"""What proves who is asking: tokens, proofs, assertions, keys, certificate requests, forms; and addresses."""

import atexit
import base64
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey, OKPKey
from target import Target, target

from gridspine.infra.identity import jws
from gridspine.infra.identity.certificate import _requested_key
from gridspine.infra.identity.client import Assertions
from gridspine.infra.identity.directory import Directory
from gridspine.infra.identity.dpop import Proofs, normalise_url
from gridspine.infra.identity.replay import ReplayCache
from gridspine.infra.identity.token import AccessTokens, Confirmation
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import Invalid, Unauthenticated

ISSUER = "https://node.example"
_WORDS = [
    b'"alg":"none"',
    b'"kid":',
    b'"crit":["b64"]',
    b'"b64":false',
    b'"jwk":{',
    b'"typ":"at+jwt"',
    b"..",
    b"eyJ",
    b"e30",
    b".",
    b"-_",
    b"=",
    b"W10",
]
_KEY = OKPKey.import_key(
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
)


def _text(data: bytes) -> str:
    return data.decode("latin-1")  # as a server hands on a header


def _signed(header: dict[str, Any], claims: dict[str, Any], key: Any = _KEY) -> bytes:
    return jws.sign(header, claims, key).encode()


def _maybe_signed(data: bytes, key: Any = _KEY) -> str:
    """Return the input as text; one that begins with S is header, zero byte, payload, to be signed rightly.

    Else hardly an input would come past the signature.
    """
    if data[:1] != b"S":
        return _text(data)
    header, _, payload = data[1:].partition(b"\0")
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = base64.urlsafe_b64encode(key.private_key.sign(signed)).rstrip(b"=")
    return (signed + b"." + signature).decode()


def _parts(compact: bytes) -> bytes:
    """Return a token as input that is signed anew."""
    header, payload, _ = compact.split(b".")
    return b"S" + b"\0".join(base64.urlsafe_b64decode(part + b"==") for part in (header, payload))


class _Open(ReplayCache):
    """A replay memory that stays empty: the decoder is what is tried, and each input is new."""

    def first_time(self, owner: str, name: str, monotonic_us: int) -> bool:
        """Say yes."""
        return True


def _folder(beside: Path | None = None) -> Path:
    """Return a folder that goes with this process."""
    folder = Path(tempfile.mkdtemp(dir=beside))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@target
def jwt() -> Target:
    """Access tokens (RFC 9068)."""
    clock = VirtualClock()
    key = OKPKey.import_key(_KEY.as_dict(private=True))
    key.ensure_kid()
    tokens = AccessTokens(ISSUER, ISSUER, [key], clock)
    whole = tokens.issue("urn:x:a", scope="operator", sid="key:k", epoch=0, cnf=Confirmation(jkt="j"))
    kid = str(key.kid)
    seeds = [whole.encode(), tokens.issue("urn:x:b", scope="", sid="", epoch=0, cnf=None).encode(),
             _signed({"typ": "at+jwt", "kid": kid}, {"iss": ISSUER}), _signed({"typ": "at+jwt", "kid": kid, "b64": False, "crit": ["b64"]}, {}),
             _signed({"typ": "JWT"}, {"sub": 1})]  # fmt: skip
    seeds += [_parts(one) for one in seeds[:3]] * 2
    return Target(
        "jwt",
        "access tokens (JWT)",
        lambda data: tokens.verify(_maybe_signed(data, key)),
        (Unauthenticated,),
        seeds,
        _WORDS,
    )


@target
def dpop_proof() -> Target:
    """DPoP proofs (RFC 9449)."""
    clock = VirtualClock()
    proofs = Proofs(clock, replay=_Open(60))
    public = {name: str(value) for name, value in _KEY.as_dict(private=False).items()}
    other = ECKey.generate_key("P-256")
    claims = {"jti": "1", "htm": "GET", "htu": f"{ISSUER}/things", "iat": clock.now_us() // 1_000_000}
    seeds = [
        _signed({"typ": "dpop+jwt", "jwk": public}, claims),
        _signed({"typ": "dpop+jwt", "jwk": dict(other.as_dict(private=False))}, claims, other),
        _signed({"typ": "dpop+jwt", "jwk": {**public, "d": "x"}}, claims),
        _signed({"typ": "dpop+jwt", "jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, claims),
    ]

    def run(data: bytes) -> str:
        return proofs.check(_maybe_signed(data), method="GET", url=f"{ISSUER}/things", owner="a")

    seeds += [_parts(seeds[0]), _parts(seeds[2]), _parts(seeds[0])]
    return Target("dpop-proof", "DPoP proofs", run, (Unauthenticated,), seeds, _WORDS)


@target
def client_assertion() -> Target:
    """Client assertions (RFC 7523)."""
    clock = VirtualClock()
    registry = SqlRegistry(sqlite_url(_folder() / "registry.db"), clock, None)
    directory = Directory(registry, clock)
    directory.add_organisation("acme", "Acme")
    client = directory.add_principal("acme", "application", "c", ("operator",), id="urn:example:client").id
    directory.add_key(client, {name: str(value) for name, value in _KEY.as_dict(private=False).items()})
    assertions = Assertions(directory, clock, frozenset({ISSUER}), replay=_Open(60))
    now_s = clock.now_us() // 1_000_000
    claims = {"iss": client, "sub": client, "aud": ISSUER, "exp": now_s + 60, "iat": now_s, "jti": "j"}
    seeds = [
        _signed({}, claims),
        _signed({"kid": "x"}, claims),
        _signed({}, {**claims, "aud": [ISSUER, "b"]}),
        _signed({}, {"sub": client}),
    ]
    seeds += [_parts(one) for one in seeds]
    return Target(
        "client-assertion",
        "client assertions (JWT)",
        lambda data: assertions.check(_maybe_signed(data)),
        (Unauthenticated,),
        seeds,
        _WORDS,
    )


@target
def jwk() -> Target:
    """Public keys as JWK."""
    public = {name: str(value) for name, value in _KEY.as_dict(private=False).items()}
    ec_key = {k: str(v) for k, v in ECKey.generate_key("P-256").as_dict(private=False).items()}

    def run(data: bytes) -> str:
        try:
            members = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Invalid(str(error)) from error
        return jws.import_key(members)[0]

    seeds = [
        msgspec.json.encode(public),
        msgspec.json.encode(ec_key),
        msgspec.json.encode({**public, "use": "enc", "key_ops": ["sign"]}),
    ]
    return Target(
        "jwk",
        "public keys (JWK)",
        run,
        (Invalid,),
        seeds,
        [b'"crv":"P-384"', b'"x":"', b'"kty":"oct"', b'"d":"', b"AAAA"],
    )


@target
def certificate_request() -> Target:
    """Certificate requests (PKCS #10, PEM)."""
    key = ec.derive_private_key(12345, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "c")])
    made = (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    pem = made.public_bytes(Encoding.PEM)
    words = [b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----\n", b"MII", b"AQH/"]
    return Target(
        "certificate-request",
        "certificate requests (PEM)",
        _requested_key,
        (Invalid,),
        [pem, pem + pem, b"-----BEGIN X-----\n"],
        words,
    )


@target
def proof_url() -> Target:
    """The address in a DPoP proof, normalised."""
    seeds = [
        b"https://node.example/things",
        b"HTTP://Node.Example:80/a%2fb/../c?q#f",
        b"http://[::1]:8600/%7Ea",
        b"https://u:p@h/",
    ]

    def run(data: bytes) -> str:
        once = normalise_url(_text(data))
        if once and normalise_url(once) != once:
            raise AssertionError(f"not stable: {once!r}")
        return once

    return Target(
        "proof-url",
        "addresses in proofs",
        run,
        (),
        seeds,
        [b"%00", b"%zz", b"//", b"@", b":99999", b"[", b"]", b"\t", b"#"],
    )


@target
def settings() -> Target:
    """Settings (TOML)."""
    memory = Path("/dev/shm")  # a file a run: on disk it would take most of the time
    path = _folder(memory if memory.is_dir() else None) / "settings.toml"

    def run(data: bytes) -> object:
        path.write_bytes(data)
        return load_settings(path, {})

    seeds = [
        b'organisation = "X"\n[http]\nport = 8600\n[adapters]\nallow = ["mqtt"]\n[adapters.settings.mqtt]\na = 1\n',
        b"[tls]\nenabled = true\nnames = []\n",
        b"demo = true\n",
    ]
    return Target(
        "settings",
        "settings (TOML)",
        run,
        (Invalid,),
        seeds,
        [b"[http]\n", b"= ", b'"""', b"\n", b"1979-05-27", b"[[a]]"],
        kind="disk",
    )
