"""py20305, a client of IEEE 2030.5 from PyPI, follows a server and says in lines of JSON what it is told to do."""

import asyncio
import json
import sys
from pathlib import Path

from py20305.client.csip_client import CsipClient
from py20305.client.tls import TlsConfig


def say(**what):
    print(json.dumps(what, default=str), flush=True)


class Dispatcher:
    """Stands for the devices: it says what would be done to them."""

    async def apply_control(self, device_href, derc, curves):
        say(did="control", mrid=bytes(derc.m_rid.value).hex(), base=repr(derc.dercontrol_base))

    async def apply_default_control(self, device_href, dderc, curves, **_):
        say(did="default", base=repr(dderc.dercontrol_base))

    async def clear_control(self, device_href, **_):
        say(did="clear")

    async def disable_modes(self, device_href, modes, **_):
        say(did="disable", modes=sorted(modes))

    async def relay_schedule_notification(self, lfdis, notification):
        pass

    apply_control_by_lfdi = apply_control
    apply_default_control_by_lfdi = apply_default_control
    clear_control_by_lfdi = clear_control
    disable_modes_by_lfdi = disable_modes


async def main(url, certificate, key, ca):
    tls = TlsConfig(Path(certificate), Path(key), Path(ca))
    client = CsipClient(url, tls=tls, dispatcher=Dispatcher())
    async with client:
        await client.connect()
        say(did="connected")
        await client.run()


if __name__ == "__main__":
    say(did="loaded")
    sys.stdin.readline()
    asyncio.run(main(*sys.argv[1:]))
