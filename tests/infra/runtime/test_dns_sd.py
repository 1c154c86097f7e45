"""The node announced in the local network, and found there by a browser of DNS-SD."""

import asyncio

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from gridspine.infra.runtime.dns_sd import DIRECTORY, SERVICE, announce


async def test_a_browser_finds_the_directory_until_it_is_taken_back() -> None:
    announcement = await announce("Northside", "north.local", 8643, ["127.0.0.1"])
    seen: asyncio.Queue[tuple[str, str, ServiceStateChange]] = asyncio.Queue()

    def told(zeroconf, service_type, name, state_change) -> None:
        seen.put_nowait((service_type, name, state_change))

    browsing = AsyncZeroconf(interfaces=["127.0.0.1"])
    browser = AsyncServiceBrowser(browsing.zeroconf, [SERVICE, DIRECTORY], handlers=[told])
    wanted = {(SERVICE, f"Northside.{SERVICE}"), (DIRECTORY, f"Northside directory.{SERVICE}")}
    found = set()
    while not wanted <= found:
        kind, name, change = await asyncio.wait_for(seen.get(), 60)
        if change is ServiceStateChange.Added:
            found.add((kind, name))
    info = AsyncServiceInfo(SERVICE, f"Northside.{SERVICE}")
    assert await info.async_request(browsing.zeroconf, 10_000)
    assert (info.port, info.parsed_addresses()) == (8643, ["127.0.0.1"])
    assert info.decoded_properties == {"td": "/.well-known/wot", "type": "Directory", "scheme": "https"}
    await announcement.close()
    gone = set()
    while len(gone) < 2:
        kind, _, change = await asyncio.wait_for(seen.get(), 60)
        if change is ServiceStateChange.Removed:
            gone.add(kind)
    await browser.async_cancel()
    await browsing.async_close()
