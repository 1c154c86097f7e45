"""Who takes part in every run, and the data directory they are all registered in: made once for a process."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sim import http
from sim.device import MODEL as BATTERY
from sim.device import NAME
from sim.machine import ORGANISATION, Machine

METER = "https://gridspine.org/models/meter"
RETIRED = "urn:sim:meter-4"
"""The one that may be retired."""
METERS = ("urn:sim:meter-1", "urn:sim:meter-2", "urn:sim:meter-3", RETIRED)
BATTERIES = ("urn:sim:battery-1", "urn:sim:battery-2")
CONSUMERS = ("brightfield", "eastmoor")
ALL = ("administrator", "operator", "owner", "consumer", "auditor")
POINTS = {
    "meters": tuple(f"{meter}/{name}" for meter in METERS[:2] for name in ("activeEnergyImport", "activePower")),
    "batteries": tuple(f"{battery}/activeEnergyImport" for battery in BATTERIES),
}
"""Products by title: their points. The third and fourth meter are in none."""


@dataclass(slots=True)
class Cast:
    """Ids of those who take part, and where they are registered."""

    template: Path
    operator: str = ""
    second: str = ""
    """Who asks for what takes two persons; the operator may agree."""
    consumers: dict[str, str] = field(default_factory=dict)
    """Organisation → principal."""
    products: dict[str, str] = field(default_factory=dict)
    """Title → id."""
    now_s: float = 0.0


def register(machine: Machine, template: Path) -> Cast:
    """Set up a node on ``machine``, stop it, and keep its data directory as ``template``."""
    machine.load(None)
    machine.boot()
    assert machine.loop is not None and machine.node is not None
    directory, cast = machine.node.identity.directory, Cast(template)
    directory.add_organisation(ORGANISATION, "Northside")
    cast.operator = directory.add_principal(ORGANISATION, "application", "operator", ALL).id
    cast.second = directory.add_principal(ORGANISATION, "application", "second", ALL).id
    for name in CONSUMERS:
        directory.add_organisation(name, name.title())
        cast.consumers[name] = directory.add_principal(name, "application", "consumer", ALL).id
    demo = machine.node.identity.demo
    assert demo is not None
    token = demo.issue(cast.operator)

    async def post(target: str, what: dict[str, Any]) -> Any:
        body = msgspec.json.encode(what)
        answer = await http.request(machine.app, "POST", target, token=token, body=body, kind="application/json")
        assert answer.status == 201, answer.body
        return answer.json()

    async def fill() -> None:
        for meter in METERS:
            await post("/things", {"id": meter, "title": meter, "model": METER})
        for battery in BATTERIES:
            await post("/things", {"id": battery, "title": battery, "model": BATTERY, "adapter": NAME})
        for title, points in POINTS.items():
            contract = {"licence": "MIT", "purposes": ["a", "b"]}
            cast.products[title] = (await post("/products", {"title": title, "points": points, "contract": contract}))[
                "id"
            ]

    machine.loop.run_until_complete(fill())
    machine.stop()
    cast.now_s = machine.now_s + 10.0
    shutil.copytree(machine.data, template)  # makes the folders above, too
    return cast
