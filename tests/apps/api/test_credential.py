"""Certificates for mutual TLS and keys, by the API: issued, used, rotated, revoked."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gridspine.apps.cli.keys import certificate_request, new_key, private_pem, read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node.run import Running, start
from gridspine.infra.runtime.settings import Archive, Http, Settings, Tls


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    settings = Settings(
        organisation="North", http=Http(port=0), archive=Archive(enabled=False), tls=Tls(enabled=True, port=0)
    )
    running = await start(settings, tmp_path / "data")
    yield running
    await running.stop()


def secure_url(running: Running) -> str:
    return f"https://localhost:{running._servers[1].port}"


async def test_a_certificate_carries_a_token_over_mutual_tls_until_it_is_revoked(
    running: Running, tmp_path: Path
) -> None:
    file = read_client_file(running.node.paths.clients / "operator.json")
    async with httpx.AsyncClient(base_url=running.url, auth=SigningAuth(file, node=running.url)) as http:
        asked = await http.post(
            f"/principals/{file.client}/certificates", json={"csr": certificate_request(file).decode()}
        )
        assert asked.status_code == 201, asked.text
        issued = asked.json()
        for name, text in (("c.crt", issued["certificate"]), ("ca.crt", issued["authority"])):
            (tmp_path / name).write_text(text)
        (tmp_path / "c.key").write_bytes(private_pem(file))
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        context.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
        async with httpx.AsyncClient(base_url=secure_url(running), verify=context) as secure:
            form = {"grant_type": "client_credentials", "client_id": file.client}
            token = (await secure.post("/token", data=form)).json()["access_token"]
            bearer = {"Authorization": f"Bearer {token}"}
            assert (await secure.get("/status", headers=bearer)).status_code == 200
            plain = await http.get("/status", headers=bearer, auth=httpx.Auth())
            assert plain.status_code == 401  # the token is worth nothing without the certificate
            path = f"/principals/{file.client}/certificates/{issued['thumbprint']}/revoke"
            assert (await http.post(path)).status_code == 200
            assert (await secure.get("/status", headers=bearer)).status_code == 401
        assert (await http.post(path)).status_code == 404


async def test_a_key_is_rotated_and_taken_away(running: Running) -> None:
    file = read_client_file(running.node.paths.clients / "operator.json")
    async with httpx.AsyncClient(base_url=running.url, auth=SigningAuth(file, node=running.url)) as http:
        public = dict(new_key().as_dict(private=False))
        added = await http.post(f"/principals/{file.client}/keys", json={"jwk": public})
        assert added.status_code == 201, added.text
        removed = await http.post(f"/principals/{file.client}/keys/{added.json()['kid']}/remove")
        assert removed.status_code == 200
        again = await http.post(f"/principals/{file.client}/keys/{added.json()['kid']}/remove")
        assert again.status_code == 404


async def test_nobody_issues_for_others(running: Running, tmp_path: Path) -> None:
    directory = running.node.identity.directory
    await asyncio.to_thread(directory.add_organisation, "south", "South")
    stranger = await asyncio.to_thread(directory.add_principal, "south", "application", "a", ("operator",))
    file = read_client_file(running.node.paths.clients / "operator.json")
    key = new_key()
    await asyncio.to_thread(directory.add_key, stranger.id, dict(key.as_dict(private=False)))
    other = type(file)(stranger.id, file.node, key)
    async with httpx.AsyncClient(base_url=running.url, auth=SigningAuth(other, node=running.url)) as http:
        csr = {"csr": certificate_request(other).decode()}
        answers = [
            (await http.post(f"/principals/{id_}/certificates", json=csr)).status_code
            for id_ in (file.client, stranger.id, "urn:uuid:nobody")
        ]
    assert answers == [403, 403, 403]
