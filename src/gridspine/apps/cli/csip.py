"""``gridspine csip``: devices and aggregators of IEEE 2030.5 made known by their certificates, and registered."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Invalid

app = typer.Typer(help="Devices and aggregators of IEEE 2030.5 and CSIP-AUS.", no_args_is_help=True)
MODELS = "https://gridspine.org/models/"
ADAPTER = "ieee2030_5"


@app.command()
def register(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="The client's certificate, PEM.")],
    title: Annotated[str, typer.Option(help="What people call it.")] = "DER",
    model: Annotated[str, typer.Option(help="Its Thing Model, or one of ours: pv_inverter, battery …")] = "pv_inverter",
    pin: Annotated[int, typer.Option(help="Registration PIN with its checksum, such as 111115; 0 for none.")] = 0,
    site: Annotated[bool, typer.Option("--site", help="Register its connection point, too.")] = False,
    point: Annotated[str, typer.Option(help="What the network calls the connection point (NMI), with --site.")] = "",
    meter: Annotated[bool, typer.Option("--meter", help="Its readings of the site become a meter's.")] = False,
    aggregator: Annotated[bool, typer.Option("--aggregator", help="It speaks for others: see --behind.")] = False,
    behind: Annotated[str, typer.Option(help="LFDI of the aggregator that it is behind; then --lfdi is needed.")] = "",
    lfdi: Annotated[str, typer.Option(help="Its LFDI, where CERTIFICATE is its aggregator's.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Know a device by its certificate, and register the Thing that it is; print both ids and its LFDI.

    With --behind CERTIFICATE is that of the aggregator, which is known already.
    """
    if bool(behind) != bool(lfdi):
        raise Invalid("--behind and --lfdi go together: the aggregator's LFDI, and the device's own")
    pem = certificate.read_text()
    asked = {"title": title, "model": model if ":" in model else MODELS + model, "pin": pin}
    role = {"role": "aggregator"} if aggregator else {"aggregator": behind} if behind else {}
    made = asyncio.run(_register(data_directory(data), client, pem, asked, role, lfdi, meter=meter))
    typer.echo(f"principal {made['principal']}\nlfdi      {made['lfdi']}\nthing     {made['thing']}")
    if site or point:
        made_site = asyncio.run(_site(data_directory(data), client, title, point, made["thing"]))
        typer.echo(f"site      {made_site}")


async def _register(
    data: Path, client: str, pem: str, asked: dict[str, Any], role: dict[str, str], lfdi: str, *, meter: bool
) -> dict[str, str]:
    async with connected(data, client) as http:
        if "aggregator" in role:
            things = check(await http.get("/things?limit=1000")).json()
            speaker = next((one for one in things if _connection(one).get("lfdi") == role["aggregator"]), None)
            if speaker is None:
                raise Invalid("--behind: no aggregator with that LFDI is registered: register it with --aggregator")
            principal = str(speaker["gs:devices"][0])
        else:
            body = {"kind": "device", "name": asked["title"], "roles": ["device"]}
            principal = check(await http.post("/principals", json=body)).json()["id"]
            path = f"/principals/{quote(principal, safe=':')}/known-certificates"
            known = check(await http.post(path, json={"certificate": pem})).json()
            lfdi = known["sha256"][:40]
        connection = {"lfdi": lfdi, "pin": asked["pin"], **role}
        thing = {"title": asked["title"], "model": asked["model"], "adapter": ADAPTER, "devices": [principal]}
        made = check(await http.post("/things", json={**thing, "connection": connection})).json()["id"]
        if meter:
            of_site = {"lfdi": lfdi, "role": "site"}
            metered = {"title": f"{asked['title']}: meter", "model": f"{MODELS}meter", "connection": of_site}
            check(await http.post("/things", json={**thing, **metered}))
    return {"principal": principal, "lfdi": lfdi, "thing": made}


async def _site(data: Path, client: str, title: str, point: str, thing: str) -> str:
    async with connected(data, client) as http:
        body = {"title": title, "things": [thing], "connectionPointId": point}
        return str(check(await http.post("/sites", json=body)).json()["id"])


def _connection(description: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = description.get("gs:connection") or {}
    return found
