"""``gridspine template``: device templates listed, shown, checked, and played as devices."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gridspine.apps.cli.client import Data
from gridspine.apps.emulate.template_device import serve_template
from gridspine.apps.node.paths import Paths, data_directory
from gridspine.apps.node.templates import all_templates, get_template
from gridspine.energy.templates import known_models
from gridspine.kernel.errors import Invalid
from gridspine.things.template import Template
from gridspine.things.template_fill import adapter_of
from gridspine.things.template_read import check_template, decode_template, read_template

app = typer.Typer(
    help="Device templates: registers, topics and answers of real devices, as data.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A template's name, or a file.")]


@app.command("list")
def list_(data: Data = None) -> None:
    """List the templates that come with the node and those in the folder `templates` of the data directory."""
    found, bad = all_templates(Paths(data_directory(data)).templates)
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "maker", "product", "class", "by", "points")
    for name, one in sorted(found.items()):
        table.add_row(name, one.maker, one.product, one.class_, adapter_of(one), str(len(one.points)))
    Console().print(table)
    for name, why in bad.items():
        print(f"  {name}: {why}", file=sys.stderr)


@app.command()
def show(name: Name, data: Data = None) -> None:
    """Show where each point of a device is, its unit and sign there, and what a Thing of it needs."""
    one = _get(name, data)
    print(f"{one.maker} {one.product}")
    print(f"  class     {one.class_}\n  by        {adapter_of(one)}, every {one.interval_s:g} s")
    print(
        f"  source    {one.source.document} {one.source.version}".rstrip() + f"\n            {one.source.url}".rstrip()
    )
    for words, text in (("read", one.source.note), ("note", one.note), ("lacks", ", ".join(one.lacks))):
        if text:
            print(f"  {words:<9} {text}")
    for key, parameter in one.parameters.items():
        default = f", {parameter.default} unless given" if parameter.default else ", needed"
        print(f"  --set     {key}=…: {parameter.title}{default}")
    for key, point in sorted(one.points.items()):
        said = {field: value for field, value in msgspec.to_builtins(point).items() if value not in ("", None, (), {})}
        print(f"  {key:<20} {' '.join(f'{field}={value}' for field, value in said.items())}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A template, TOML.")],
) -> None:
    """Say what is wrong with a template, field by field."""
    try:
        findings = [
            (one.field, one.description) for one in check_template(decode_template(file.read_bytes()), known_models())
        ]
    except Invalid as error:
        findings = [(one["field"], one["description"]) for one in error.extra.get("validationErrors", [])]
        findings = findings or [("(root)", error.detail)]
    for field, words in findings:
        print(f"  {field}: {words}", file=sys.stderr)
    if findings:
        raise typer.Exit(1)
    print(f"{file.stem} is good")


@app.command()
def schema() -> None:
    """Print the JSON Schema of templates, for an editor that completes and checks them."""
    print(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Template)), indent=1).decode())


@app.command()
def play(
    name: Name,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 is any free one.")] = 0,
    seed: Annotated[int, typer.Option(help="What its values are made of.")] = 0,
    data: Data = None,
) -> None:
    """Play a device of a template, Modbus TCP or HTTP, with values that its seed makes; until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_play(_get(name, data), port, seed))


async def _play(template: Template, port: int, seed: int) -> None:
    async with serve_template(template, port=port, seed=seed) as device:
        print(msgspec.json.encode({"at": device.at, "values": device.values}).decode(), flush=True)
        await asyncio.Event().wait()


def _get(name: str, data: Path | None) -> Template:
    if name.endswith(".toml"):
        return read_template(Path(name).read_bytes(), known_models())
    return get_template(Paths(data_directory(data)).templates, name)
