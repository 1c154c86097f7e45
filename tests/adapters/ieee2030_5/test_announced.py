"""A server that is announced in the local network, and found there by those who look for one."""

import asyncio
from functools import partial

from csip_utility import serving
from py20305.client.dnssd.discover import discover
from py20305.client.dnssd.wire import MDNS

from gridspine.apps.cli import csip_discovery
from gridspine.infra.runtime import dns_sd


async def test_a_server_is_found_until_it_stops(tmp_path) -> None:
    async with serving(tmp_path, announce="Northside. Grid") as utility:
        found = []
        for _ in range(10):  # multicast may be lost
            found = await csip_discovery.servers(1.0, ["127.0.0.1"])
            if found:
                break
        (one,) = [one for one in found if one.name.startswith("Northside")]
        assert one.url.rpartition(":")[2] == utility.url.rpartition(":")[2] + "/dcap"
        described = []
        for _ in range(10):
            seen = await dns_sd.browse(csip_discovery.SERVICE, 1.0, ["127.0.0.1"])
            if described := [one for one in seen if "North" in one.instance]:
                break
        (said,) = described
        assert said.text == {"txtvers": "1", "dcap": "/dcap", "https": str(said.port), "level": "+S1"}
        assert said.addresses == ("127.0.0.1",)
        theirs = []
        for _ in range(10):
            look = partial(discover, MDNS, timeout=1.0, interface="127.0.0.1")
            theirs = [found for found in await asyncio.to_thread(look) if found.instance.startswith("Northside")]
            if theirs:
                break
        (other,) = theirs  # a client of somebody else's finds the same
        assert other.dcap_url == f"https://127.0.0.1:{said.port}/dcap"
