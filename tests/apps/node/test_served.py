"""What an adapter hands the node to serve: loopback or TLS, bounded bodies, host names, the client's certificate."""

import asyncio
import datetime
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hosted_node import hosting

from gridspine.apps.api import connection
from gridspine.kernel.errors import Invalid
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import certificate_of


async def app(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    der = certificate_of(scope)
    body = f"{scope['path']} {size} {len(der) if der else 0}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def authority(folder, name, by=None):
    """Make a certificate (an authority when nobody signs it) and return its key, itself and their files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer, issuer = (by[0], by[1].subject) if by else (key, subject)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
    made = made.not_valid_after(now + datetime.timedelta(1))
    made = made.add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    names = [x509.DNSName("localhost")]
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(signer, hashes.SHA256())
    files = folder / f"{name}.crt", folder / f"{name}.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return key, made, *map(str, files)


async def test_plain_http_is_bounded_and_answers_for_local_names_only(tmp_path) -> None:
    async with hosting(tmp_path / "data", {"http": {"max_body_bytes": 100}}) as (world, context):
        host, port = await context.serve("http", app)
        assert world.node.adapters.listening["handed.http"] == (host, port)
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
            assert (await http.post("/x", content=b"1" * 100)).text == "/x 100 0"
            assert (await http.post("/x", content=b"1" * 101)).status_code == 413

            async def pieces():
                for _ in range(3):
                    yield b"1" * 50
                    await asyncio.sleep(0)

            assert (await http.post("/x", content=pieces())).status_code == 413
            assert (await http.get("/x", headers={"host": "evil.example"})).status_code == 421


async def test_who_says_half_of_a_request_is_let_go_and_others_are_served(tmp_path, monkeypatch) -> None:
    for name in ("HEAD_S", "BODY_S"):
        monkeypatch.setattr(connection, name, 0.3)
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"
    halves = {b"": b"", head: b"", head + b"Content-Length: 9\r\n\r\nabc": b"HTTP/1.1 408"}
    async with hosting(tmp_path / "data") as (_, context):
        host, port = await context.serve("http", app)

        async def said(half):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(half)
                async with asyncio.timeout(40):
                    return (await reader.read())[:12]
            finally:
                writer.close()

        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
            waiting = asyncio.gather(*map(said, halves))
            assert (await http.post("/x", content=b"1")).text == "/x 1 0"
            assert await waiting == list(halves.values())


async def test_beyond_loopback_takes_tls(tmp_path) -> None:
    section = {"http": {"host": "0.0.0.0"}, "odd": {"tls": True, "minimum": "1.1"}}
    section["none"] = {"tls": True, "certificate": "/nowhere"}
    section["ciphers"] = {"tls": True, "ciphers": "NONESUCH"}
    async with hosting(tmp_path / "data", section) as (_, context):
        for name, word in (("http", "tls = true"), ("odd", "minimum"), ("none", "nowhere"), ("ciphers", "NONESUCH")):
            with pytest.raises(Invalid, match=f"adapters.settings.handed.{name}.*{word}"):
                await context.serve(name, app)


@pytest.mark.parametrize("own", [True, False])
async def test_mutual_tls_with_authorities_of_another_kind(tmp_path, own) -> None:
    root = authority(tmp_path, "root")
    server, device = authority(tmp_path, "server", root), authority(tmp_path, "device", root)
    section = {"tls": True, "client": "required", "ca": [root[2]], "maximum": "1.2"}
    section["ciphers"] = "ECDHE-ECDSA-AES128-GCM-SHA256"
    if own:
        section |= {"certificate": server[2], "key": server[3]}
    async with hosting(tmp_path / "data", {"http": section}) as (world, context):
        _, port = await context.serve("http", app)
        client = ssl.create_default_context(cafile=root[2]) if own else ssl.create_default_context()
        if not own:
            client.load_verify_locations(cadata=world.node.identity.authority.ca_pem.decode())
        await refused(client, port)
        client.load_cert_chain(device[2], device[3])
        async with httpx.AsyncClient(verify=client) as http:
            answer = await http.get(f"https://localhost:{port}/y")
        assert answer.text == f"/y 0 {len(device[1].public_bytes(serialization.Encoding.DER))}"


async def refused(client, port):
    async with httpx.AsyncClient(verify=client) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"https://localhost:{port}/y")


async def test_the_kits_node_serves_too(tmp_path) -> None:
    root = authority(tmp_path, "root")
    server, device = authority(tmp_path, "server", root), authority(tmp_path, "device", root)
    section = {"tls": True, "certificate": server[2], "key": server[3], "ca": [root[2]], "client": "required"}
    node = FakeNode(settings={"http": section})
    try:
        _, port = await node.serve("http", app)
        client = ssl.create_default_context(cafile=root[2])
        client.load_cert_chain(device[2], device[3])
        async with httpx.AsyncClient(verify=client) as http:
            assert (await http.get(f"https://localhost:{port}/z")).text.startswith("/z 0 ")
            assert (await http.get(f"https://localhost:{port}/z")).text.split()[2] != "0"
    finally:
        await node.close()
