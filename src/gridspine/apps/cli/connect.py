"""Reach the node of a data directory: the one that runs, or one started for the length of a command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node.paths import Paths, settings_file
from gridspine.infra.runtime.logs import configure_logs
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import Invalid, NotFound


def running_address(data: Path) -> str:
    """Return where the running node of ``data`` is reached, "" when none runs."""
    try:
        address = Paths(data).address.read_text().strip()
    except FileNotFoundError:
        return ""
    try:
        httpx.get(f"{address}/health", timeout=2.0)
    except httpx.HTTPError:
        return ""
    return address


@asynccontextmanager
async def connected(data: Path, client: str = "operator", *, start: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client that signs as ``client`` (a file in the data directory's ``clients``, or a path).

    Where no node runs on ``data``, one is started on a free port and stopped afterwards; not with ``start`` False.
    """
    address = await asyncio.to_thread(running_address, data)
    if address:
        async with _client(data, client, address) as http:
            yield http
        return
    if not start:
        raise NotFound(f"no node runs on {data}: start one with 'gridspine up', or name its data directory with --data")
    import msgspec

    from gridspine.apps.node.run import start as start_node

    configure_logs("warning", as_json=False)  # to standard error: the answer is what is printed
    settings = load_settings(settings_file(data))
    settings = msgspec.structs.replace(
        settings,
        http=msgspec.structs.replace(settings.http, port=0),
        tls=msgspec.structs.replace(settings.tls, enabled=False),
        adapters=msgspec.structs.replace(settings.adapters, allow=[]),
    )
    running = await start_node(settings, data)
    try:
        async with _client(data, client, running.url) as http:
            yield http
    finally:
        await running.stop()


def check(response: httpx.Response) -> httpx.Response:
    """Return an answer that went well; raise `Invalid` with the node's own words for another."""
    if response.is_success:
        return response
    try:
        problem = response.json()
        detail = problem.get("detail") or problem.get("title")
    except ValueError:
        detail = response.text[:300]
    raise Invalid(f"the node answered {response.status_code}: {detail}")


def client_path(data: Path, client: str) -> Path:
    """Return the file of ``client``: a name under the data directory's ``clients``, or a path."""
    return Path(client) if "/" in client or client.endswith(".json") else Paths(data).clients / f"{client}.json"


def _client(data: Path, client: str, address: str) -> httpx.AsyncClient:
    auth = SigningAuth(read_client_file(client_path(data, client)), node=address)
    return httpx.AsyncClient(base_url=address, auth=auth, timeout=120.0)
