"""``gridspine csip``: devices of IEEE 2030.5 made known by their certificates, and utilities' servers joined."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.cli.csip_discovery import LOOK_S, add_utility, chosen, servers
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Invalid

app = typer.Typer(help="Devices, aggregators and utilities of IEEE 2030.5 and CSIP-AUS.", no_args_is_help=True)
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


@app.command()
def join(
    utility: Annotated[str, typer.Argument(metavar="UTILITY", help="Its name in the settings of the adapter.")],
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="The node's certificate there, PEM.")],
    site: Annotated[str, typer.Option(help="Id of the site whose limits it sets.")] = "",
    thing: Annotated[str, typer.Option(help="Id of the one Thing whose limits it sets, instead.")] = "",
    title: Annotated[str, typer.Option(help="What people call it.")] = "Utility",
    lfdi: Annotated[str, typer.Option(help="LFDI of the EndDevice, where it is not the certificate's own.")] = "",
    pin: Annotated[int, typer.Option(help="The PIN that the utility's server must show; 0 for any.")] = 0,
    rated_power_w: Annotated[float, typer.Option(help="What percentages are of [W]; told as DERCapability.")] = 0.0,
    mirror: Annotated[
        list[str] | None, typer.Option(help="A point whose readings are posted; may be repeated.")
    ] = None,
    meter: Annotated[str, typer.Option(help="Id of the Thing that measures the connection point.")] = "",
    post_s: Annotated[int, typer.Option(help="How often readings are posted [s].")] = 300,
    discover: Annotated[
        bool, typer.Option("--discover", help="Find the server in the local network, and name it in the settings.")
    ] = False,
    instance: Annotated[str, typer.Option(help="Which server, where several are found: see `csip discover`.")] = "",
    key: Annotated[Path | None, typer.Option(help="The key of CERTIFICATE, PEM, with --discover.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Who issued the server's certificate, PEM, with --discover.")] = None,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Let a utility's server set the limits of a site; print the ids of principal and Thing.

    The node acts there, and here, as whom CERTIFICATE names: an application that may operate and enrol the sites of
    its organisation. Deactivate it, and the utility says nothing here any more.

    With --discover the server need not be in the settings yet. Anybody in the local network may say that there is one:
    only who has a certificate of --ca is believed, and --pin tells your utility from another that has one.
    """
    if bool(site) == bool(thing):
        raise Invalid("--site or --thing: one of them is needed")
    if discover:
        if key is None or ca is None:
            raise Invalid("--discover: --key and --ca are needed, the files that the settings are to name")
        server = chosen(asyncio.run(servers()), instance)
        file = add_utility(data_directory(data), utility, server.url, certificate, key, ca)
        typer.echo(f"server    {server.url}\nsettings  {file}: read when the node starts next")
    upstream = {
        "utility": utility, "site": site, "thing": thing, "lfdi": lfdi, "pin": pin, "ratedPowerW": rated_power_w,
        "mirror": mirror or [], "meter": meter, "postS": post_s,
    }  # fmt: skip
    connection = {name: value for name, value in upstream.items() if value}
    made = asyncio.run(_join(data_directory(data), client, certificate.read_text(), title, connection))
    typer.echo(f"principal {made['principal']}\nthing     {made['thing']}")


@app.command("discover")
def show_servers(
    wait_s: Annotated[float, typer.Option(min=0.1, max=60.0, help="How long servers may take to answer [s].")] = LOOK_S,
) -> None:
    """Print the servers that announce themselves in the local network (DNS-SD), and where they are."""
    for one in asyncio.run(servers(wait_s)):
        typer.echo(f"{one.url}  {one.name}")


async def _join(data: Path, client: str, pem: str, title: str, connection: dict[str, Any]) -> dict[str, str]:
    async with connected(data, client) as http:
        name = f"utility {connection['utility']}"
        known = check(await http.get("/principals")).json()
        principal = next((one["id"] for one in known if one["name"] == name and one["active"]), "")
        if not principal:
            body = {"kind": "application", "name": name, "roles": ["operator", "owner"]}
            principal = check(await http.post("/principals", json=body)).json()["id"]
        path = f"/principals/{quote(principal, safe=':')}/known-certificates"
        check(await http.post(path, json={"certificate": pem}))
        wanted: dict[str, Any] = {
            "title": title, "model": f"{MODELS}utility_connection", "adapter": ADAPTER, "connection": connection,
        }  # fmt: skip
        return {"principal": principal, "thing": check(await http.post("/things", json=wanted)).json()["id"]}


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
