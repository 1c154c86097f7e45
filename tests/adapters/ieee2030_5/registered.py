"""A device that is registered, with its client."""

from csip_utility import SEP, until, xml


async def device(utility, **connection):
    """Make a registered device with its client; return its Thing, the client and its EndDevice's path."""
    issued = utility.pki.device("inverter")
    principal = await utility.known(issued)
    thing = await utility.thing(principal, issued.lfdi, **connection)
    http = await utility.client(issued)
    path = await until(lambda: path_of(http))
    return thing, http, path, issued


async def path_of(http):
    found = xml(await http.get("/edev?s=0&l=10")).find(f"{SEP}EndDevice")
    return None if found is None else found.get("href")
