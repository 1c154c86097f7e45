"""Reads points as fast as answers come: ``python reads.py HOST:PORT KIND PATH SECONDS CONNECTIONS``.

A process of its own with nothing in it but sockets: each connection sends the next request when the last is answered.
KIND is bearer, mtls, dpop or node-wot. Requests are made before the clock starts, the proofs of ``dpop`` too: what is
measured is the node. The secret is JSON in ``BENCH_TOKEN``: ``token``; for mutual TLS ``authority``, ``certificate``
and ``key`` (files); for DPoP ``jwk``; ``node-wot`` needs none, and its answers come in pieces, which are put together.
Says as JSON how many answers came, and what share of a core it took itself.
"""

import argparse
import base64
import hashlib
import itertools
import json
import os
import selectors
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey
from rig import thing_id

from gridspine.infra.identity import jws

THINGS = 200
MOST_PER_S = 12_000
"""Proofs made for each second of a run."""


def main() -> None:
    """Read until the time is over, or the proofs are used up."""
    parser = argparse.ArgumentParser()
    for name in ("address", "kind", "path"):
        parser.add_argument(name)
    parser.add_argument("seconds", type=float)
    parser.add_argument("connections", type=int)
    given = parser.parse_args()
    secret = json.loads(os.environ["BENCH_TOKEN"])
    requests = _requests(given, secret)
    ready = [_connection(given.address, given.kind, secret) for _ in range(given.connections)]
    print(json.dumps({"reading": True}), flush=True)
    complete = _complete if given.kind == "node-wot" else _always
    print(json.dumps(_run(ready, requests, given.seconds, complete)), flush=True)


def _always(_: bytes) -> bool:
    return True


def _complete(said: bytes) -> bool:
    """Whether an answer without a length is there as a whole (RFC 9112 §7.1)."""
    return said.endswith(b"\r\n0\r\n\r\n")


def _run(
    connections: list[socket.socket], requests: Iterator[bytes], seconds: float, complete: Callable[[bytes], bool]
) -> dict[str, float]:
    selector = selectors.EpollSelector()
    for connection in connections:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    began, cpu_s, count = time.monotonic(), time.process_time(), 0
    for connection in connections:
        connection.send(next(requests))
    until, left = began + seconds, True
    pieces: dict[socket.socket, bytes] = {}
    while left and time.monotonic() < until:
        for found, _ in selector.select(1.0):
            connection: Any = found.fileobj
            try:
                said = connection.recv(16_384)
            except ssl.SSLWantReadError:
                continue
            if pieces or not complete(said):
                said = pieces.pop(connection, b"") + said
                if not complete(said):
                    pieces[connection] = said
                    continue
            assert said[9:12] == b"200", said
            count += 1
            following = next(requests, None)
            if following is None:
                left = False
                break
            connection.send(following)
    took_s = time.monotonic() - began
    return {"count": count, "seconds": took_s, "cpu": (time.process_time() - cpu_s) / took_s}


def _connection(address: str, kind: str, secret: dict[str, str]) -> socket.socket:
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind != "mtls":
        return plain
    context = ssl.create_default_context(cafile=secret["authority"])
    context.load_cert_chain(secret["certificate"], secret["key"])
    return context.wrap_socket(plain, server_hostname="localhost")


def _requests(given: argparse.Namespace, secret: dict[str, Any]) -> Iterator[bytes]:
    paths = [f"/things/{thing_id(number)}{given.path}" for number in range(THINGS)]
    if given.kind == "node-wot":
        paths = [f"/m{number}{given.path}" for number in range(THINGS)]
    host = f"localhost:{given.address.rpartition(':')[2]}" if given.kind == "mtls" else given.address
    scheme = "DPoP" if given.kind == "dpop" else "Bearer"
    known = f"Authorization: {scheme} {secret['token']}\r\n" if "token" in secret else ""
    heads = [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{known}" for path in paths]
    if given.kind != "dpop":
        return itertools.cycle([f"{head}\r\n".encode() for head in heads])
    prove = _prover(secret["jwk"], secret["token"])
    urls = [f"http://{host}{path}" for path in paths]
    return iter(
        [
            f"{heads[at % THINGS]}DPoP: {prove(urls[at % THINGS])}\r\n\r\n".encode()
            for at in range(round(given.seconds * MOST_PER_S))
        ]
    )


def _prover(jwk: dict[str, str], token: str) -> Any:
    """Return what signs a proof for a URL (RFC 9449 §4.2) by ES256, with as little as possible around the signature."""
    key: Any = ECKey.import_key(jwk)
    public = jws.public_jwk(key.as_dict(private=False))
    header = _encoded(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": public}).encode())
    ath = _encoded(hashlib.sha256(token.encode()).digest()).decode()
    sign, how = key.get_op_key("sign").sign, ec.ECDSA(SHA256())

    def prove(url: str) -> str:
        claims = f'{{"jti":"{uuid.uuid4()}","htm":"GET","htu":"{url}","iat":{int(time.time())},"ath":"{ath}"}}'
        signed = header + b"." + _encoded(claims.encode())
        r, s = decode_dss_signature(sign(signed, how))
        return (signed + b"." + _encoded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()

    return prove


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


if __name__ == "__main__":
    main()
