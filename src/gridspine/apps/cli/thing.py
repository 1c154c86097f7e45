"""``gridspine thing``: a Thing taken in by its description, shown with what works, and taken out again."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import msgspec
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Invalid
from gridspine.things.td.check import is_model
from gridspine.things.td.document import read_document, walk

app = typer.Typer(help="Things by their Thing Descriptions: add, show, remove.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="The Thing's id, a URN.")]
_TD = {"content-type": "application/td+json"}
_NDJSON = {"content-type": "application/x-ndjson"}
_AT_ONCE, _AT_ONCE_BYTES = 2_000, 8 << 20
"""Things, and bytes of them, in one request at most."""


@app.command()
def add(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A Thing Description (1.0 or 1.1), or a Thing Model.")
    ] = None,
    placeholder: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for a placeholder of a Thing Model; a JSON value stays one.")
    ] = None,
    placeholders: Annotated[Path | None, typer.Option(help="A JSON file with the values of placeholders.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="An optional part that the Thing has not.")] = None,
    secret: Annotated[str, typer.Option(help="Name of the adapter's secret that the Thing is asked with.")] = "",
    many: Annotated[bool, typer.Option("--many", help="FILE has many Things: one a line, or a JSON array.")] = False,
    template: Annotated[str, typer.Option(help="A device template, instead of FILE: see `gridspine template`.")] = "",
    at: Annotated[str, typer.Option(help="Where a device of --template is, such as tcp://192.0.2.7:502/1.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE for one of --template.")] = None,
    title: Annotated[str, typer.Option(help="Title of a device of --template; its product unless given.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Id of a device of --template, a URN; made unless given.")] = "",
    device: Annotated[list[str] | None, typer.Option(help="A principal that speaks for it, with --template.")] = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Take a Thing into the directory. Whatever the node can read of it is read; the rest is named, with the reason."""
    if template:
        if file is not None or many or placeholder or placeholders or without:
            raise Invalid("--template takes no file, and neither placeholders nor --without: give --at and --set")
        wanted: dict[str, Any] = {
            "at": at,
            "id": id_,
            "secret": secret,
            "title": title or template,
            "devices": device or [],
        }
        wanted |= {"parameters": dict(_named(one) for one in parameter or ())}
        _show(asyncio.run(_add_by_template(data_directory(data), client, template, wanted)))
        return
    if file is None or at or parameter or title or id_ or device:
        raise Invalid("a FILE is needed; --at, --set, --title, --id and --device go with --template")
    if many:
        if placeholder or placeholders or without or secret:
            raise Invalid("--many takes no placeholders, --without or --secret: prepare the file")
        total = asyncio.run(_add_many(data_directory(data), client, _lines(file)))
        print(f"{total[0]} registered, {total[1]} there already, {total[2]} refused")
        raise typer.Exit(1 if total[2] else 0)
    document = _read(file)
    values = _read(placeholders) if placeholders is not None else {}
    values |= dict(_value(one) for one in placeholder or ())
    report = asyncio.run(_add(data_directory(data), client, document, values, without or [], secret))
    _show(report)


@app.command()
def show(id: Id, data: Data = None, client: Client = "operator") -> None:
    """Show how a Thing is served, and what of its description does not work here."""
    _show(asyncio.run(_ask(data_directory(data), client, "GET", f"/things/{quote(id, safe=':')}/report")))


@app.command()
def remove(id: Id, data: Data = None, client: Client = "operator") -> None:
    """Take a Thing out of the directory: it is retired, and its history stays."""
    asyncio.run(_ask(data_directory(data), client, "DELETE", f"/things/{quote(id, safe=':')}"))
    print(f"{id} is retired")


async def _add(
    data: Path, client: str, document: dict[str, Any], values: dict[str, Any], without: list[str], secret: str
) -> dict[str, Any]:
    async with connected(data, client) as http:
        if is_model(document):
            if not any(path and path[-1] == "forms" for path, _ in walk(document)):
                model = _checked(await http.post("/models", content=msgspec.json.encode(document))).json()
                body = {"title": model["title"], "model": model["id"]}
                thing = _checked(await http.post("/things", json=body)).json()["id"]
                return _report(await http.get(f"/things/{quote(thing, safe=':')}/report"))
            asked = {"thingModel": document, "placeholders": values, "without": without}
            document = _checked(await http.post("/models/fill", content=msgspec.json.encode(asked))).json()
        elif values or without:
            raise Invalid("placeholders and --without are for Thing Models: this is a Thing Description")
        if secret:
            _name_secret(document, secret)
        body_ = msgspec.json.encode(document)
        if "id" not in document:
            return _report(await http.post("/things", content=body_, headers=_TD))
        path = f"/things/{quote(str(document['id']), safe=':')}"
        _checked(await http.put(path, content=body_, headers=_TD))
        return _report(await http.get(f"{path}/report"))


async def _add_by_template(data: Path, client: str, template: str, wanted: dict[str, Any]) -> dict[str, Any]:
    async with connected(data, client) as http:
        made = _checked(await http.post(f"/templates/{quote(template, safe='')}/things", json=wanted)).json()
        return {**made, "working": made["points"], "expires": "", "left": []}


async def _add_many(data: Path, client: str, lines: Sequence[tuple[int, bytes]]) -> tuple[int, int, int]:
    """Send numbered Things in requests of a bounded size; print why some are refused; return how many became what."""
    registered = unchanged = refused = 0
    async with connected(data, client) as http:
        for part in _requests(lines):
            body = b"\n".join(line for _, line in part)
            said = check(await http.post("/things/batch", content=body, headers=_NDJSON)).json()
            registered, unchanged = registered + said["registered"], unchanged + said["unchanged"]
            refused += said["refused"]
            for one in said["problems"]:
                print(f"  {part[one['index']][0]}: {one['id']} {one['detail']}", file=sys.stderr)
    return registered, unchanged, refused


def _requests(lines: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    part: list[tuple[int, bytes]] = []
    size = 0
    for number, line in lines:
        if part and (len(part) >= _AT_ONCE or size + len(line) > _AT_ONCE_BYTES):
            yield part
            part, size = [], 0
        part.append((number, line))
        size += len(line) + 1
    if part:
        yield part


def _lines(file: Path) -> Sequence[tuple[int, bytes]]:
    """Return the Things of a file, each with its line, or its place in the array; counted from 1."""
    body = file.read_bytes()
    if not body.lstrip().startswith(b"["):
        return [(at, line) for at, line in enumerate(body.splitlines(), 1) if line.strip()]
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise Invalid(f"{file}: {error}") from error
    # A line break is white space in JSON, and ends a line here.
    return [(at, bytes(one).replace(b"\n", b" ").replace(b"\r", b" ")) for at, one in enumerate(items, 1)]


async def _ask(data: Path, client: str, method: str, path: str) -> dict[str, Any]:
    async with connected(data, client) as http:
        answer = _checked(await http.request(method, path))
        return _report(answer) if answer.content else {}


def _report(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = _checked(answer).json()
    return found


def _checked(answer: httpx.Response) -> httpx.Response:
    """Return an answer that is good; say what is wrong field by field where the node did."""
    if answer.status_code == 400:
        for one in answer.json().get("validationErrors", []):
            print(f"  {one['field']}: {one['description']}", file=sys.stderr)
    return check(answer)


def _name_secret(document: dict[str, Any], secret: str) -> None:
    for scheme in document.get("securityDefinitions", {}).values():
        if isinstance(scheme, dict) and scheme.get("scheme") not in {"nosec", "combo"}:
            scheme["gs:secret"] = secret


def _show(report: dict[str, Any]) -> None:
    print(f"{report['id']}")
    adapter = report["adapter"]
    print(f"  read by   {adapter or 'nothing: it is described, and others may send its readings'}")
    print(f"  points    {', '.join(report['points']) or 'none'}")
    if adapter:
        print(f"  working   {', '.join(report['working']) or 'none'}")
    if report["expires"]:
        print(f"  expires   {report['expires']}")
    for one in report["left"]:
        print(f"  left      {one['affordance']}: {one['reason']}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_document(file.read_bytes())
    except Invalid as error:
        raise Invalid(f"{file}: {error.detail}") from error


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--set: {text[:60]!r} is not NAME=VALUE")
    return name, value


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--placeholder: {text[:60]!r} is not NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value
