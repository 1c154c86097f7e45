"""An emulated photovoltaic inverter that speaks CSIP-AUS, as a program of its own: to try a utility's server by.

``python -m gridspine.adapters.ieee2030_5.client.inverter --url https://…/dcap --certificate … --key … --ca …``

It finds its EndDevice (or announces it), follows the controls and defaults of its programs, answers them, mirrors its
readings, and says what it can. A server that is away changes nothing of what it knows: controls end when they end,
then its default holds. With ``--home-port`` it says its power on the wire in the wall of a home of the demonstration.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import random
import socket

from gridspine.adapters.ieee2030_5.client import reading
from gridspine.adapters.ieee2030_5.client.answer import Standing, due, response, wanted
from gridspine.adapters.ieee2030_5.client.connection import Access, Connection, tls_of
from gridspine.adapters.ieee2030_5.client.der_control import (
    SUPERSEDED,
    SeenControl,
    SeenProgram,
    limits_of,
    with_last_good,
)
from gridspine.adapters.ieee2030_5.client.held import holding
from gridspine.adapters.ieee2030_5.client.walk import Walk, link_of, own
from gridspine.adapters.ieee2030_5.identity import check_lfdi, sfdi_of
from gridspine.adapters.ieee2030_5.wire import Element
from gridspine.energy.control import NOTHING, Control
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.kernel.errors import Conflict, GridspineError, NotFound
from gridspine.kernel.time import US

log = logging.getLogger(__name__)
STEP_S, DOCUMENTS_S = 1.0, 60.0
POINTS = ("activePower", "activeEnergyExport")
_PHOTOVOLTAIC = 4
MODES_SUPPORTED, DOE_MODES = 0x0050_0000, 0x0F


class Roof:
    """A roof's modules on a day with clouds, repeatable by its seed; ``rated_w`` [W] is what they give at most."""

    def __init__(self, rated_w: float, seed: int, hour: float) -> None:
        self.rated_w, self._hour = rated_w, hour
        self._random = random.Random(seed)  # noqa: S311 - a demonstration repeats itself
        self._cloud = 0.95
        self.power_w = 0.0
        self.export_wh = self._random.uniform(1e6, 5e6)

    @property
    def available_w(self) -> float:
        """What the modules give [W]."""
        return self.rated_w * max(0.0, math.sin(math.pi * (self._hour - 6.0) / 12.0)) * self._cloud

    def run(self, asked: Control, seconds: float) -> None:
        """Live for ``seconds`` [s], and give no more than what is asked for lets it [W, here positive].

        Nothing is known of the home's consumption: what may not be exported is not generated either.
        """
        self._cloud = min(1.0, max(0.6, self._cloud + self._random.gauss(0.0, 0.01)))
        limits = limits_of(asked)
        most_w = min(limits.get("generation_limit_w", math.inf), limits.get("export_limit_w", math.inf))
        if asked.target_w is not None:
            most_w = min(most_w, max(0.0, -asked.target_w))
        on = asked.connect is not False and asked.energise is not False
        self.power_w = min(self.available_w, most_w) if on else 0.0
        self.export_wh += self.power_w * seconds / 3_600.0

    def read(self, now_s: int) -> dict[str, list[reading.Read]]:
        """Return what it measures now, import positive."""
        values = {
            "activePower": -self.power_w, "activeEnergyExport": self.export_wh,
        }  # fmt: skip
        return {point: [reading.Read(now_s, 0, values[point])] for point in POINTS}


class Client:
    """The inverter's side of the wire. What it knows it keeps while the server is away."""

    def __init__(self, connection: Connection, clock: Clock, lfdi: str, rated_w: float, poll_s: float) -> None:
        self._connection, self._clock, self._lfdi, self._rated_w = connection, clock, lfdi, rated_w
        self._walk = Walk(connection, clock, most_s=poll_s)
        self._seen: list[SeenProgram] = []
        self._told: dict[str, list[int]] = {}
        self._chance: dict[str, tuple[int, int]] = {}
        self._usage_point = ""
        self._documents_us = 0

    def held(self) -> Control:
        """Return what holds now, whether the server is there or not."""
        return holding(self._seen, self._span, self._now_us()).control if self._seen else NOTHING

    async def look(self, roof: Roof) -> str:
        """Read what is asked for, answer, and tell; return what there is to say, "" for nothing."""
        device = own(await self._walk.end_devices(), self._lfdi)
        if device is None:
            await self._announce()
            return "the server does not show this EndDevice yet"
        try:
            before, known = self._seen, {one.mrid: one for one in self._seen}
            read = (await self._walk.programs(device, self._rated_w)).read
            self._seen = [with_last_good(one, known.get(one.mrid)) for one in read]
        except NotFound:
            self._walk.forget()
            raise
        await self._answer(device, before)
        await self._mirror(roof)
        await self._describe(device, roof)
        return ""

    def _now_us(self) -> int:
        return self._clock.now_us() + self._walk.offset_us

    def _span(self, one: SeenControl) -> tuple[int, int]:
        """Return when a control begins and ends, after chance took its part once [µs, by the server's clock]."""
        if one.mrid not in self._chance:
            later, sooner = (int.from_bytes(self._clock.randbytes(4), "big") / 2**32 for _ in range(2))
            self._chance[one.mrid] = (
                int(later * one.randomise_start_s * US), int(sooner * one.randomise_duration_s * US),
            )  # fmt: skip
        later_us, sooner_us = self._chance[one.mrid]
        return one.from_us + later_us, one.until_us - (round(one.randomise_start_s * US) - later_us) - sooner_us

    async def _announce(self) -> None:
        href = link_of(await self._walk.capability(), "EndDeviceListLink")
        made = reading.end_device(self._lfdi, sfdi_of(self._lfdi), 0x0000_0800, self._clock.now_us())
        with contextlib.suppress(Conflict):  # it is known, and waits for its Thing
            await self._connection.post(href, made)
        self._walk.forget()

    async def _answer(self, device: Element, before: list[SeenProgram]) -> None:
        """Answer each control that is listed, and those that are listed no more."""
        now_us = self._now_us()
        by = holding(self._seen, self._span, now_us).by if self._seen else frozenset()
        listed = _controls(self._seen)
        for mrid, one in (_controls(before) | listed).items():
            begin_us, end_us = self._span(one)
            superseded = one.status == SUPERSEDED
            # What is over need not be listed any more.
            gone = one.cancelled and not superseded if mrid in listed else now_us < end_us
            stands = Standing(begin_us, end_us, mrid in by, False, gone, superseded, one.problem)
            for status in list(due(self._told.setdefault(mrid, []), stands, now_us)):
                if one.reply_to and wanted(status, one.required):
                    await self._connection.post(one.reply_to, response(mrid, status, self._lfdi, now_us))
                self._told[mrid].append(status)
        for mrid in self._told.keys() - listed.keys() - _controls(before).keys():
            del self._told[mrid]
            self._chance.pop(mrid, None)

    async def _mirror(self, roof: Roof) -> None:
        now_s = self._now_us() // US
        if not self._usage_point:
            made = reading.usage_point(
                self._lfdi, "inverter", "Inverter", POINTS, site=False, every_s=1, pen=0
            )  # fmt: skip
            href = link_of(await self._walk.capability(), "MirrorUsagePointListLink")
            self._usage_point = await self._connection.post(href, made)
        body = reading.posted(self._lfdi, "inverter", roof.read(now_s), every_s=1, pen=0)
        try:
            await self._connection.post(self._usage_point, body)
        except NotFound:
            self._usage_point = ""  # the server forgot it: it is made anew

    async def _describe(self, device: Element, roof: Roof) -> None:
        """Say what it can and how it is, once a while."""
        now_us, monotonic_us = self._now_us(), self._clock.monotonic_us()
        if monotonic_us < self._documents_us:
            return
        for der in await self._walk.children(device, "DERListLink", "DER"):
            said = {
                "DERCapabilityLink": reading.capability(self._rated_w, _PHOTOVOLTAIC, MODES_SUPPORTED, DOE_MODES),
                "DERSettingsLink": reading.settings(self._rated_w, MODES_SUPPORTED, DOE_MODES, now_us),
                "DERStatusLink": reading.status(now_us, connected=True),
                "DERAvailabilityLink": reading.availability(now_us, roof.available_w),
            }
            for name, document in said.items():
                if href := link_of(der, name):
                    await self._connection.put(href, document)
        self._documents_us = monotonic_us + round(DOCUMENTS_S * US)


def _controls(seen: list[SeenProgram]) -> dict[str, SeenControl]:
    return {one.mrid: one for program in seen for one in program.controls}


async def live(client: Client, roof: Roof, clock: Clock, wall_port: int) -> None:
    """Follow and tell, for ever."""
    said = ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wall:
        while True:
            try:
                words = await client.look(roof)
            except GridspineError as error:
                words = error.detail
            if words != said:
                log.info("inverter: %s", words or "follows the server")
                said = words
            roof.run(client.held(), STEP_S)
            if wall_port:
                told = json.dumps({"device": "csip", "power_w": -roof.power_w}).encode()
                wall.sendto(told, ("127.0.0.1", wall_port))
            await clock.sleep(STEP_S)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description="An emulated inverter that speaks CSIP-AUS.")
    parser.add_argument("--url", required=True, help="DeviceCapability of the server")
    parser.add_argument("--certificate", required=True, help="the inverter's own certificate, PEM")
    parser.add_argument("--key", required=True, help="its key, PEM")
    parser.add_argument("--ca", required=True, help="who issued the server's certificate, PEM")
    parser.add_argument("--lfdi", required=True, help="the LFDI of the certificate")
    parser.add_argument("--rated-w", type=float, default=5000.0, help="what it gives at most [W]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hour", type=float, default=12.0, help="hour of the sun's day, which stands still")
    parser.add_argument("--poll-s", type=float, default=2.0, help="how long what the server says is kept at most [s]")
    parser.add_argument("--home-port", type=int, default=0, help="UDP port of the home's meter")
    return parser.parse_args(argv)


async def _run(options: argparse.Namespace) -> None:
    access = Access(options.url, options.certificate, options.key, options.ca)
    access.check("inverter")
    clock = SystemClock()
    connection = Connection(access, tls_of(access))
    roof = Roof(options.rated_w, options.seed, options.hour)
    client = Client(connection, clock, check_lfdi(options.lfdi), options.rated_w, options.poll_s)
    try:
        await live(client, roof, clock, options.home_port)
    finally:
        await connection.close()


def main(argv: list[str] | None = None) -> None:
    """Run until killed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_run(parse(argv)))


if __name__ == "__main__":
    main()
