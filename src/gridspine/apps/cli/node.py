"""``gridspine init``, ``client``, ``backup`` and ``restore``: run and look after a node."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
import typer

from gridspine.apps.cli.client import Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import Paths, data_directory
from gridspine.infra.runtime.logs import configure_logs
from gridspine.infra.runtime.settings import Settings, load_settings
from gridspine.kernel.errors import Conflict, Invalid

log = structlog.get_logger(__name__)


def init(
    organisation: Annotated[str, typer.Option(help="Name of the organisation that runs the node.")],
    data: Data = None,
) -> None:
    """Make a data directory for an organisation, and a one-time code for its first administrator."""
    directory = data_directory(data)
    path = directory / "settings.toml"
    if path.exists():
        raise Conflict(f"{path} exists already: this data directory belongs to somebody")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = msgspec.json.encode(organisation).decode()  # a JSON string is a TOML string too
    path.write_text(f"organisation = {name}\n")
    try:
        code = asyncio.run(_first_code(load_settings(path), directory))
    except BaseException:
        path.unlink()  # so that it can be tried again, with another name
        raise
    print(f"{directory} is made for {organisation}.")
    print(f"Start the node:  gridspine up --data {directory}")
    print(f"Then open its address in a browser and use this code once, within a day:  {code}")


def add_client(
    name: Annotated[str, typer.Argument(help="Name of the client; also of its file.")],
    role: Annotated[list[str], typer.Option(help="operator, owner, consumer, device, auditor; may be repeated.")],
    organisation: Annotated[str, typer.Option(help="Organisation's id (default: the node's own).")] = "",
    kind: Annotated[str, typer.Option(help="application, device or user.")] = "application",
    data: Data = None,
) -> None:
    """Make a client of the node: a key file under the data directory's clients, known to the node."""
    directory = data_directory(data)
    made = asyncio.run(_add_client(directory, name, role, organisation, kind))
    print(f"{made['id']} may act as {', '.join(made['roles'])}")
    print(f"its key is in {directory / 'clients' / (name + '.json')}: keep it to yourself")


def certificate(
    name: Annotated[str, typer.Argument(help="Name of the client, as its file under clients.")],
    data: Data = None,
) -> None:
    """Get a client certificate for mutual TLS, for the key in a client's file."""
    directory = data_directory(data)
    asyncio.run(_certificate(directory, name))
    print(f"{directory / 'clients' / name}.crt and .key, and ca.crt beside them: use them for mutual TLS")


def backup(
    target: Annotated[Path, typer.Argument(help="File to write, such as node.tar.zst.")],
    data: Data = None,
) -> None:
    """Back up a node, running or not, into one file."""
    from gridspine.apps.node.backup import write_backup

    size = write_backup(data_directory(data), target)
    print(f"{target}: {size} bytes. It holds private keys: keep it where only you can read it.")


def restore(
    source: Annotated[Path, typer.Argument(help="File made by gridspine backup.")],
    data: Data = None,
) -> None:
    """Restore a backup into an empty data directory."""
    from gridspine.apps.node.backup import restore_backup

    directory = data_directory(data)
    restore_backup(source, directory)
    print(f"{directory} is restored. Start it:  gridspine up --data {directory}")


async def _first_code(settings: Settings, data: Path) -> str:
    from gridspine.apps.node.run import start

    configure_logs("warning", as_json=False)
    free = msgspec.structs.replace(settings, http=msgspec.structs.replace(settings.http, port=0))
    running = await start(free, data)
    try:
        code: str = await asyncio.to_thread(running.node.identity.first.new_code)
        return code
    finally:
        await running.stop()


async def _add_client(data: Path, name: str, roles: list[str], organisation: str, kind: str) -> dict[str, Any]:
    from gridspine.apps.cli.keys import ClientFile, new_key, write_client_file
    from gridspine.infra.runtime.clock import SystemClock, new_urn

    if not name.replace("-", "").replace("_", "").isalnum():
        raise Invalid("name: letters, digits, - and _")
    clock = SystemClock()
    path = Paths(data).clients / f"{name}.json"
    async with connected(data) as http:
        issuer = Paths(data).issuer.read_text().strip()
        file = ClientFile(new_urn(clock), issuer, new_key())
        write_client_file(path, file, clock)
        asked = {"id": file.client, "kind": kind, "name": name, "roles": roles, "jwk": file.public_jwk()}
        try:
            answer = check(await http.post("/principals", json=asked | {"organisation": organisation}))
        except BaseException:
            path.unlink()
            raise
        made: dict[str, Any] = answer.json()
        return made


async def _certificate(data: Path, name: str) -> None:
    from gridspine.apps.cli.keys import certificate_request, private_pem, read_client_file
    from gridspine.infra.identity.private_file import create_private
    from gridspine.infra.runtime.clock import SystemClock

    folder = Paths(data).clients
    file = read_client_file(folder / f"{name}.json")
    async with connected(data) as http:
        request = {"csr": certificate_request(file).decode()}
        answer = check(await http.post(f"/principals/{file.client}/certificates", json=request)).json()
    for suffix, text in (("crt", answer["certificate"]), ("key", private_pem(file).decode())):
        path = folder / f"{name}.{suffix}"
        path.unlink(missing_ok=True)
        create_private(path, text.encode(), SystemClock())
    (folder / "ca.crt").write_text(answer["authority"])
