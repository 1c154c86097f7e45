"""``gridspine ocpp``: what takes several steps at a charge point, in one; each by the client's own rights."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from cryptography import x509

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Unavailable

app = typer.Typer(help="Charge points (OCPP).", no_args_is_help=True)
_REQUEST = "SignCertificate"
_PAUSE_S = 0.1


@app.callback()
def ocpp() -> None:
    """Charge points (OCPP)."""


@app.command()
def sign(
    thing: Annotated[str, typer.Argument(metavar="THING", help="Id of a Thing of the charge point.")],
    any_name: Annotated[
        bool, typer.Option("--any-name", help="Sign a request in another name than the charge point's, too.")
    ] = False,
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Issue the certificate that a charge point asks for, by the node's authority, and send it there.

    It asks by SignCertificate: when it is due to, or by the action trigger. The request must be signed by its own key,
    and be in the name of the station, or of the serial number that it booted with. A certificate that it refuses is
    revoked; where it did not answer, its thumbprint is in the list of the device's, to be revoked by hand.
    """
    made = asyncio.run(_sign(data_directory(data), client, thing, any_name=any_name))
    typer.echo(f"station     {made['station']}\ndevice      {made['device']}\nthumbprint  {made['thumbprint']}")


async def _sign(data: Path, client: str, thing: str, *, any_name: bool) -> dict[str, str]:
    async with connected(data, client, start=False) as http:
        said = await _done(http, thing, "station", None)
        request = said["notices"].get(_REQUEST)
        if request is None:
            raise NotFound(f"the charge point has asked for no certificate ({_REQUEST}): have it ask by action trigger")
        if not any_name:
            _check_name(request["csr"], {said["station"], _serial(said["boot"])} - {""})
        where = f"/principals/{quote(said['device'], safe='')}/certificates"
        issued = check(await http.post(where, json={"csr": request["csr"]})).json()
        try:
            await _done(http, thing, "sendCertificate", {"certificate": issued["certificate"]})
        except Conflict:
            check(await http.post(f"{where}/{issued['thumbprint']}/revoke"))
            raise
        return {"station": said["station"], "device": said["device"], "thumbprint": issued["thumbprint"]}


async def _done(http: httpx.AsyncClient, thing: str, action: str, given: Any) -> Any:
    """Have an action carried out; return its output. Raises `Conflict` when refused, `Unavailable` when unknown."""
    asked = check(await http.post(f"/things/{quote(thing, safe='')}/actions/{action}", json=given)).json()
    while asked["status"] not in {"completed", "failed"}:  # the node ends it when its time is over
        await asyncio.sleep(_PAUSE_S)
        asked = check(await http.get(asked["href"])).json()
    if asked["status"] == "failed":
        problem = asked["error"]
        raise (Conflict if problem["status"] == HTTPStatus.CONFLICT else Unavailable)(f"{action}: {problem['detail']}")
    return asked.get("output")


def _check_name(pem: str, names: set[str]) -> None:
    """Raise `Invalid` for a request in none of the charge point's names."""
    try:
        said = x509.load_pem_x509_csr(pem.encode()).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError as error:
        raise Invalid("the charge point's request is none in PEM (PKCS #10)") from error
    found = {str(one.value) for one in said}
    if len(found) != 1 or not found <= names:
        raise Invalid(
            f"the request is in the name of {', '.join(sorted(found))[:80] or 'nobody'}, the charge point is called "
            f"{' or '.join(sorted(names))[:120]}: sign it with --any-name if that is meant"
        )


def _serial(boot: dict[str, Any]) -> str:
    """Return the serial number of a BootNotification, of 1.6 or 2.x; "" where it has none."""
    return str(
        boot.get("chargingStation", {}).get("serialNumber")
        or boot.get("chargePointSerialNumber")
        or boot.get("chargeBoxSerialNumber")
        or ""
    )
