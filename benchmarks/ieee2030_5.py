"""IEEE 2030.5: how many documents devices are handed over mutual TLS on connections that stay, and new ones a second.

``uv run python benchmarks/ieee2030_5.py [--short]``. Devices are a process of their own; each asks for its list of
controls again and again, as a poll does when nothing has changed.
"""

import argparse
import asyncio
import datetime
import ipaddress
import json
import ssl
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from rig import SETTINGS, Rig, child, report

from gridspine.adapters.ieee2030_5.identity import lfdi_of
from gridspine.apps.cli.connect import check

DEVICES, PV = 40, "https://gridspine.org/models/pv_inverter"
Key = ec.EllipticCurvePrivateKey


def issue(folder: Path, name: str, by: tuple[x509.Certificate, Key] | None) -> tuple[x509.Certificate, Key]:
    """Make a certificate, an authority's when nobody signs it, and write it and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(by[0].subject if by else subject)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(2))
    made = made.add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    local = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = made.add_extension(x509.SubjectAlternativeName(local), critical=False)
    signed = made.sign(by[1] if by else key, hashes.SHA256())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM) + plain)
    return signed, key


def settings(folder: Path) -> str:
    """Return the settings of a node that serves on any port."""
    return SETTINGS + "\n".join((
        "[adapters]", 'allow = ["ieee2030_5"]', "[adapters.settings.ieee2030_5.server]", "port = 18643", "tls = true",
        'client = "required"', f'ca = ["{folder}/ca.pem"]', f'certificate = "{folder}/server.pem"',
        f'key = "{folder}/server.pem"', "",
    ))  # fmt: skip


def register(rig: Rig, folder: Path, ca: tuple[x509.Certificate, Key]) -> None:
    """Register the devices, each behind a site with an envelope of a day in steps of five minutes."""
    for number in range(DEVICES):
        certificate, _ = issue(folder, f"device{number}", ca)
        lfdi = lfdi_of(certificate.public_bytes(Encoding.DER))
        asked = {"kind": "device", "name": lfdi, "roles": ["device"]}
        principal = check(rig.operator.post("/principals", json=asked)).json()["id"]
        pem = certificate.public_bytes(Encoding.PEM).decode()
        check(rig.operator.post(f"/principals/{principal}/known-certificates", json={"certificate": pem}))
        thing = {"title": "PV", "model": PV, "adapter": "ieee2030_5", "devices": [principal]}
        thing = check(rig.operator.post("/things", json={**thing, "connection": {"lfdi": lfdi}})).json()["id"]
        site = check(rig.operator.post("/sites", json={"title": "House", "things": [thing]})).json()["id"]
        begin = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
        times = [begin + datetime.timedelta(minutes=5 * step) for step in range(1, 290)]
        intervals = [
            {"from": start.isoformat(), "until": end.isoformat(), "limits": {"exportLimitW": 1500 + step}}
            for step, (start, end) in enumerate(pairwise(times))
        ]
        envelope = {"title": "Day", "default": {"exportLimitW": 1500}, "intervals": intervals}
        check(rig.operator.post(f"/sites/{site}/envelopes", json=envelope))


class Asking(asyncio.Protocol):
    """A device's connection: it asks, and again when it was answered; all answers to it are as long as the first."""

    def __init__(self, target: str) -> None:
        self.request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/sep+xml\r\n\r\n".encode()
        self.answered = self.length = self.got = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count, and ask again."""
        self.got += len(data)
        if not self.length:
            head, _, _ = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            said = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            self.length = len(head) + 4 + int(said.partition(b":")[2])
        if self.got >= self.length:
            self.got -= self.length
            self.answered += 1
            assert self.transport is not None
            self.transport.write(self.request)


def shown(folder: Path, number: int) -> ssl.SSLContext:
    """Return what a device shows and trusts."""
    context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
    context.load_cert_chain(f"{folder}/device{number}.pem")
    return context


async def controls(folder: Path, number: int) -> str:
    """Return where a device finds its list of controls."""
    target = "/edev?l=9"
    for mark in ("/fsa", "/derp", "/derc"):
        reader, writer = await asyncio.open_connection("127.0.0.1", 18643, ssl=shown(folder, number))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        body = (await reader.read()).decode()
        writer.close()
        target = next(part for part in body.split('"') if part.endswith(mark)) + "?l=10"
    return target


async def load(folder: Path, connections: int, seconds: float) -> None:
    """Ask on so many connections for so long, then open new ones for as long; print what was answered."""
    loop = asyncio.get_running_loop()
    made = []
    for number in range(connections):
        target = await controls(folder, number % DEVICES)
        make = lambda target=target: Asking(target)  # noqa: E731
        made.append(await loop.create_connection(make, "127.0.0.1", 18643, ssl=shown(folder, number % DEVICES)))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before = sum(one.answered for _, one in made)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    answered, took_s = sum(one.answered for _, one in made) - before, time.perf_counter() - began
    own_s, size = time.process_time(), made[0][1].length
    for transport, _ in made:
        transport.abort()
    print(json.dumps({"answered": answered, "took_s": took_s, "bytes": size, "own_s": own_s}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    contexts, opened = [shown(folder, number) for number in range(DEVICES)], 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        some = (asyncio.open_connection("127.0.0.1", 18643, ssl=contexts[(opened + at) % DEVICES]) for at in range(8))
        for _, writer in await asyncio.gather(*some):
            writer.transport.abort()
            opened += 1
    print(json.dumps({"answered": opened, "took_s": time.perf_counter() - began}), flush=True)


def measure(connections: int, seconds: float) -> None:
    """Run the node and the devices; report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca = issue(folder, "ca", None)
        issue(folder, "server", ca)
        with Rig(settings(folder)) as rig:
            rig.start()
            register(rig, folder, ca)
            time.sleep(1)
            with child("ieee2030_5.py", "--load", name, str(connections), str(seconds)) as devices:
                assert devices.stdin is not None and devices.stdout is not None
                assert devices.stdout.readline() == "ready\n"
                found = []
                for _ in range(2):
                    before_s = rig.cpu_s()
                    devices.stdin.write("go\n")
                    devices.stdin.flush()
                    said = json.loads(devices.stdout.readline())
                    found.append((said, rig.cpu_s() - before_s))
    (polls, polls_s), (new, new_s) = found
    words = f"{connections} connections, ten controls of an envelope, {polls['bytes']:,} bytes an answer; "
    words += f"{1e6 * polls_s / polls['answered']:.0f} µs of the node's processor each"
    report(
        "IEEE 2030.5, GETs over mutual TLS", "≥ 6,000", round(polls["answered"] / polls["took_s"]), "requests/s", words
    )
    words = f"EC P-256, full handshakes, 8 at once; {1e3 * new_s / new['answered']:.2f} ms of the node's processor each"
    report("IEEE 2030.5, new connections", "", round(new["answered"] / new["took_s"]), "handshakes/s", words)


def main() -> None:
    """Measure, or be the devices."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--load", nargs=3, default=())
    given = parser.parse_args()
    if given.load:
        asyncio.run(load(Path(given.load[0]), int(given.load[1]), float(given.load[2])))
    else:
        measure(DEVICES, 2.0 if given.short else 6.0)


if __name__ == "__main__":
    main()
