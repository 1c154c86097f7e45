"""Reads a second of a twin's points over HTTP, by each way to prove who is asking.

``uv run python benchmarks/properties.py [--short] [--only mtls] [--profile FILE]``

The last case asks node-wot, as a server, the same: the plain value of one property of as many Things, on the same
machine, in a process of its own (Node.js). It asks nobody's name, decides nothing and keeps no time or quality.

One kept connection carries one request at a time. The load generator (`reads.py`) is a process of its own on the same
machine; its share of a core stands in the conditions.
"""

import argparse
import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
from rig import SETTINGS, Rig, answer, child, report, seed, thing_id

from gridspine.apps.cli.connect import check
from gridspine.apps.cli.keys import ClientFile, certificate_request, new_key, private_pem
from gridspine.apps.cli.signing import SigningAuth
from gridspine.energy.models import load_models

THINGS, CONNECTIONS = 200, 16
ONE, ALL, PLAIN = "/properties/voltage", "/properties", "/properties/voltage/value"
CASES = (
    ("one point, mutual TLS", "mtls", ONE, "≥ 20,000"),
    ("all five points of a Thing, mutual TLS", "mtls", ALL, ""),
    ("one point, a DPoP proof each (ES256)", "dpop", ONE, "≥ 6,000"),
    ("one point, plain bearer token", "bearer", ONE, ""),
    ("all five points of a Thing, plain bearer token", "bearer", ALL, ""),
    ("one point's plain value, plain bearer token", "bearer", PLAIN, ""),
)
STRANGERS = Path(__file__).parents[1] / "tests" / "strangers" / "wot"


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Reader:
    """A client that may read, and its secrets: a signing key, a certificate for it, and a token of each kind."""

    def __init__(self, rig: Rig, tls_port: int) -> None:
        body = {"kind": "application", "name": "reader", "roles": ["operator"]}
        made = check(rig.operator.post("/principals", json=body)).json()
        self.file = ClientFile(made["id"], (rig.data / "issuer").read_text().strip(), new_key("ES256"))
        check(rig.operator.post(f"/principals/{made['id']}/keys", json={"jwk": self.file.public_jwk()}))
        self._rig, self._bearer = rig, made["bearer"]
        self.addresses = {"mtls": f"localhost:{tls_port}"}

    def secret(self, kind: str) -> str:
        """Return what `reads.py` needs, with a fresh token."""
        known: dict[str, Any] = {"token": self._bearer}
        if kind == "mtls":
            known = self._certificate(self._rig.data)
        elif kind == "dpop":
            auth = SigningAuth(self.file, node=self._rig.url)
            with httpx.Client(base_url=self._rig.url, auth=auth) as http:
                check(http.get("/things"))
            token = auth.headers("GET", self._rig.url)["Authorization"].removeprefix("DPoP ")
            known = {"token": token, "jwk": dict(self.file.key.as_dict(private=True))}
        return json.dumps(known)

    def _certificate(self, folder: Path) -> dict[str, str]:
        request = {"csr": certificate_request(self.file).decode()}
        issued = check(self._rig.operator.post(f"/principals/{self.file.client}/certificates", json=request)).json()
        files = {"authority": issued["authority"], "certificate": issued["certificate"]}
        files["key"] = private_pem(self.file).decode()
        paths = {name: str(folder / f"reader-{name}.pem") for name in files}
        for name, text in files.items():
            Path(paths[name]).write_text(text)
        context = ssl.create_default_context(cafile=paths["authority"])
        context.load_cert_chain(paths["certificate"], paths["key"])
        form = {"grant_type": "client_credentials", "client_id": self.file.client}
        with httpx.Client(base_url=f"https://{self.addresses['mtls']}", verify=context) as http:
            return {**paths, "token": check(http.post("/token", data=form)).json()["access_token"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", help="mtls, dpop, bearer or node-wot")
    parser.add_argument("--profile", default="", help="write a sampled profile of the node to this file")
    options = parser.parse_args()
    seconds, tls_port = 3.0 if options.short else 10.0, free_port()
    tls = f"[tls]\nenabled = true\nport = {tls_port}\n"
    with Rig(SETTINGS + tls, profile=options.profile) as rig:
        seed(rig.data, load_models()["meter"], THINGS)
        rig.start()
        reader = Reader(rig, tls_port)
        values = [{"n": f"{thing_id(number)}/voltage", "v": 230.5} for number in range(THINGS)]
        check(rig.operator.post("/readings", json=values, headers={"content-type": "application/senml+json"}))
        figures = {}
        for name, kind, path, goal in CASES:
            if options.only in {"", kind} or (options.only == "node-wot" and path == PLAIN):
                figures[path, kind] = measure(rig, reader, name, kind, path, goal, seconds)
    if options.only in {"", "node-wot"}:
        beside_node_wot(figures[PLAIN, "bearer"], seconds)


def beside_node_wot(ours: tuple[float, float], seconds: float) -> None:
    """Ask node-wot the same for ``seconds`` [s]; print how often it answers, and ours as a multiple.

    ``ours`` is reads a second, and reads a second of the server's processor: a busy machine moves the second one less.
    """
    if not (STRANGERS / "node_modules").exists() or shutil.which("node") is None:
        print("node-wot is not installed: npm ci --prefix tests/strangers/wot", file=sys.stderr)
        return
    program = ["node", str(STRANGERS / "server.cjs"), str(THINGS)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = json.loads(server.stdout.readline())["port"]
        words = ("reads.py", f"127.0.0.1:{port}", "node-wot", ONE, str(seconds), str(CONNECTIONS))
        with child(*words, secret="{}") as process:
            answer(process)
            before_s = sum(psutil.Process(server.pid).cpu_times()[:2])
            said = answer(process)
            cpu_s = sum(psutil.Process(server.pid).cpu_times()[:2]) - before_s
        server.stdin.close()
    theirs = said["count"] / said["seconds"], said["count"] / cpu_s
    conditions = f"{CONNECTIONS} kept connections, {THINGS} Things, no security; "
    conditions += f"processor: server {cpu_s / said['seconds']:.2f}, load {said['cpu']:.2f} cores"
    report("reads of one property, node-wot 0.9.2 as a server", "", round(theirs[0]), "requests/s", conditions)
    name = "reads of one point's plain value, beside node-wot"
    report(name, "", round(ours[0] / theirs[0], 1), "times as many", "both as above, one after the other")
    report(f"{name}, for each second of processor", "", round(ours[1] / theirs[1], 1), "times as many", "the same runs")


def measure(
    rig: Rig, reader: Reader, name: str, kind: str, path: str, goal: str, seconds: float
) -> tuple[float, float]:
    """Read for ``seconds`` [s]; print how often a second, and return that, and how often a second of processor."""
    address = reader.addresses.get(kind, rig.url.removeprefix("http://"))
    words = ("reads.py", address, kind, path, str(seconds), str(CONNECTIONS))
    with child(*words, secret=reader.secret(kind)) as process:
        answer(process)
        before_s = rig.cpu_s()
        said = answer(process)
        busy = (rig.cpu_s() - before_s) / said["seconds"]
    conditions = f"{CONNECTIONS} kept connections, {THINGS} Things, policy decisions remembered for 5 s; "
    conditions += f"processor: node and archive {busy:.2f}, load {said['cpu']:.2f} cores"
    report(f"reads of {name}", goal, round(said["count"] / said["seconds"]), "requests/s", conditions)
    return said["count"] / said["seconds"], said["count"] / (busy * said["seconds"])


if __name__ == "__main__":
    main()
