"""Three homes: a meter, an inverter and a battery each, separate processes reached over the wire only.

::

    meter ──MQTT──► node            inverter, battery ◄──Modbus TCP, SunSpec── node
      ▲───────── UDP: the wire in the wall ─────────┘
"""

import socket
from dataclasses import dataclass

from gridspine.apps.demo.processes import Process, Processes

HOMES = 3
MODELS = "https://gridspine.org/models/"


@dataclass(slots=True)
class Home:
    """One home's devices; ``wall`` is the UDP port of the wire in the wall."""

    number: int
    wall: int
    inverter: Process
    battery: Process

    @property
    def meter_id(self) -> str:
        """The meter's URN."""
        return f"urn:example:home-{self.number}:meter"

    @property
    def inverter_id(self) -> str:
        """The inverter's URN."""
        return f"urn:example:home-{self.number}:inverter"

    @property
    def battery_id(self) -> str:
        """The battery's URN."""
        return f"urn:example:home-{self.number}:battery"


async def start_homes(processes: Processes) -> list[Home]:
    """Start the inverters and batteries; the meters follow when they have their passwords."""
    homes = []
    for number in range(1, HOMES + 1):
        wall = _free_udp_port()
        devices = {}
        for kind, more in (("inverter", ["--hour", "11", "--day-s", "3600"]), ("battery", ["--soc", "55"])):
            arguments = ["-m", f"gridspine.apps.demo.{kind}", "--port", "0", "--seed", str(number)]
            arguments += ["--home-port", str(wall), *more]
            devices[kind] = await processes.start(f"home-{number}-{kind}", arguments)
        homes.append(Home(number, wall, devices["inverter"], devices["battery"]))
    return homes


async def start_meter(processes: Processes, home: Home, address: str, username: str, password: str) -> Process:
    """Start a home's meter; its password reaches it by the environment."""
    host, _, port = address.rpartition(":")
    arguments = ["-m", "gridspine.apps.demo.meter", "--thing", home.meter_id, "--host", host, "--port", port]
    arguments += ["--username", username, "--seed", str(home.number), "--interval-s", "0.5"]
    arguments += ["--home-port", str(home.wall)]
    name = f"home-{home.number}-meter"
    return await processes.start(name, arguments, waits=False, secrets={"GRIDSPINE_METER_PASSWORD": password})


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
