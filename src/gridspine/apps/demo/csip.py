"""The demonstration's CSIP-AUS inverter: its certificate, its Thing, its connection point, and a limit it keeps.

::

    authority ─┬─ the node's certificate as a utility server      made here, kept in the demonstration's folder
               └─ the inverter's, by whose hash the node knows it
    envelope of home 1 ─► DERControl, over mutual TLS ─► inverter ─► its power, mirrored
"""

import asyncio
import datetime
import hashlib
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gridspine.apps.cli.connect import check
from gridspine.apps.demo.homes import MODELS, Home
from gridspine.apps.demo.processes import Process, Processes
from gridspine.kernel.time import US, format_rfc3339

NAME = "ieee2030_5"
LISTENER = f"{NAME}.server"
RATED_W = 5_000.0
EXPORT_LIMIT_W, LIMIT_W = 4_000.0, 1_500.0
"""What home 1 may export at all [W], and for a time."""
WITHIN_W = 60.0
_LIMITED_S, _LIFE_DAYS = 900, 30


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in files, and its LFDI."""

    certificate: Path
    key: Path
    lfdi: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The demonstration's key infrastructure."""

    authority: Issued
    server: Issued
    inverter: Issued


def make_keys(folder: Path) -> Keys:
    """Make an authority, and the certificates of server and inverter, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _issue(folder, "authority", key, None, None)
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    made = [_issue(folder, name, key, issuer, ec.generate_private_key(ec.SECP256R1())) for name in ("server", "der")]
    return Keys(authority, *made)


def _issue(
    folder: Path, name: str, signer: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None,
    key: ec.EllipticCurvePrivateKey | None,
) -> Issued:  # fmt: skip
    own = key or signer
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
    made = made.public_key(own.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=_LIFE_DAYS))
    made = made.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if name == "server":
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = made.sign(signer, hashes.SHA256())
    crt, pem = folder / f"{name}.crt", folder / f"{name}.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.touch(mode=0o600)
    pem.write_bytes(own.private_bytes(serialization.Encoding.PEM, *plain))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Issued(crt, pem, hashlib.sha256(der).hexdigest()[:40].upper())


def settings(keys: Keys) -> str:
    """Return the section of the node's settings: a utility server on loopback."""
    return f"""[adapters.settings.{NAME}.server]
port = 0
tls = true
client = "required"
ca = ["{keys.authority.certificate}"]
certificate = "{keys.server.certificate}"
key = "{keys.server.key}"
[adapters.settings.{NAME}.rates]
mirror_usage_point = 1
"""


def inverter_id(home: Home) -> str:
    """Return the URN of a home's CSIP-AUS inverter."""
    return f"urn:example:home-{home.number}:csip-inverter"


async def add_inverter(
    admin: httpx.AsyncClient, owner: httpx.AsyncClient, organisation: str, home: Home, keys: Keys
) -> None:
    """Know the inverter by its certificate, register it for its owner, and put it behind a limited connection point."""
    asked = {
        "kind": "device", "name": f"CSIP-AUS inverter of home {home.number}", "roles": ["device"],
        "organisation": organisation,
    }  # fmt: skip
    device = check(await admin.post("/principals", json=asked)).json()["id"]
    known = {"certificate": keys.inverter.certificate.read_text()}
    check(await admin.post(f"/principals/{device}/known-certificates", json=known))
    wanted = {
        "id": inverter_id(home), "title": f"Home {home.number}: CSIP-AUS inverter", "model": f"{MODELS}pv_inverter",
        "adapter": NAME, "connection": {"lfdi": keys.inverter.lfdi, "pin": 111115}, "devices": [device],
    }  # fmt: skip
    check(await owner.post("/things", json=wanted))
    site = {"title": f"Home {home.number}", "things": [inverter_id(home)], "connectionPointId": "4102000000"}
    made = check(await owner.post("/sites", json=site)).json()["id"]
    now_us = round(time.time()) * US
    interval = {
        "from": format_rfc3339(now_us), "until": format_rfc3339(now_us + _LIMITED_S * US),
        "limits": {"exportLimitW": LIMIT_W},
    }  # fmt: skip
    envelope = {"title": "Summer", "default": {"exportLimitW": EXPORT_LIMIT_W}, "intervals": [interval]}
    check(await owner.post(f"/sites/{made}/envelopes", json=envelope))


async def start_inverter(processes: Processes, home: Home, address: str, keys: Keys) -> Process:
    """Start the inverter: a program of its own, which shares with the node the language and nothing else."""
    own = keys.inverter
    arguments = ["-m", f"gridspine.adapters.{NAME}.client.inverter", "--url", f"https://{address}/dcap"]
    arguments += ["--certificate", str(own.certificate), "--key", str(own.key), "--lfdi", own.lfdi]
    arguments += ["--ca", str(keys.authority.certificate), "--rated-w", f"{RATED_W:.0f}"]
    arguments += ["--seed", str(home.number), "--home-port", str(home.wall)]
    return await processes.start(f"home-{home.number}-csip-inverter", arguments, waits=False)


async def limited(http: httpx.AsyncClient, home: Home, within_s: float = 20.0) -> dict[str, Any]:
    """Return its power [W] as soon as it keeps the limit, or after ``within_s`` [s] what it is then; None for none."""
    deadline = time.monotonic() + within_s
    while True:
        points = check(await http.get(f"/things/{inverter_id(home)}/properties")).json()
        power_w = next((one["value"] for one in points if one["name"] == "activePower"), None)
        held = power_w is not None and -LIMIT_W - WITHIN_W <= power_w <= -LIMIT_W + WITHIN_W
        if held or time.monotonic() > deadline:
            return {"power_w": power_w, "held": held}
        await asyncio.sleep(0.3)
