"""Things gathered and found: ensembles over a million Things; JSONPath and SPARQL over 100,000 descriptions.

``uv run python benchmarks/search.py [--short] [--only ensembles|search]``

The queries are those of ``benchmarks/queries.json``. Ensembles are gathered in this process, from Things and values
made here; searches are asked over HTTP of a node in this process, whose Things are registered before: one in twenty has
a description of its own. A figure is the median of several askings, the first, which reads the index, apart.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from rig import report

from gridspine.apps.node.run import start
from gridspine.energy.criteria import Capability, Condition, Criteria
from gridspine.energy.ensemble import Gatherer
from gridspine.energy.models import load_models
from gridspine.infra.runtime.settings import Archive, Http, Log, Settings
from gridspine.kernel.readings import Channel, Readings
from gridspine.things.directory import Thing
from gridspine.things.place import Circle, Place
from gridspine.things.point import PointTable
from gridspine.things.registrar import Caller
from gridspine.things.roll import Roll
from gridspine.things.standing import Standings
from gridspine.things.twin import TwinState

QUERIES: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "queries.json").read_text())
NOW_US, BLOCK = 1_800_000_000_000_000, 20_000
MODELS = ("battery", "ev_charger", "heat_pump", "pv_inverter", "meter")
RING = [[4.0, 51.0], [6.5, 51.0], [7.0, 52.0], [6.5, 53.0], [5.0, 53.4], [4.2, 52.4], [4.0, 51.0]]
ENSEMBLES = {
    "by model and state": Criteria(points=("stateOfCharge",), state=(Condition("stateOfCharge", ">", 50.0),)),
    "by a polygon of 6 corners": Criteria(place=Place(geometry={"type": "Polygon", "coordinates": [RING]})),
    "that can shed 1 kW for an hour within 50 km, stores above 30 %": Criteria(
        place=Place(circle=Circle(52.0, 5.0, 50_000.0)), state=(Condition("stateOfCharge", ">", 30.0),),
        can=Capability("shed", at_least_w=1_000.0, for_s=3_600.0, rated_energy_wh=10_000.0),
    ),
    "that can shed 1 kW for an hour, anywhere": Criteria(
        can=Capability("shed", at_least_w=1_000.0, for_s=3_600.0, rated_energy_wh=10_000.0)
    ),
}  # fmt: skip


def ensembles(count: int, times: int) -> None:
    """Gather ensembles over ``count`` Things."""
    points, roll, twins = population(count)
    gatherer, own = Gatherer(points, roll, twins, Standings(points)), points.owned("org")
    gatherer.gather(Criteria(), own, NOW_US)
    for name, criteria in ENSEMBLES.items():
        wall, worked = [], []
        for _ in range(times):
            began, used = time.perf_counter(), time.process_time()
            found = gatherer.gather(criteria, own, NOW_US)
            wall.append(time.perf_counter() - began)
            worked.append(time.process_time() - used)
        words = f"{count:,} Things, {len(found.members):,} of them gathered with sums; "
        words += f"{1000 * statistics.median(worked):.0f} ms of processor time"
        report(f"ensemble {name}", "≤ 200", round(1000 * statistics.median(wall), 1), "ms", words)


def population(count: int) -> tuple[PointTable, Roll, TwinState]:
    """Return ``count`` Things of five models, placed, each point with a good value of now."""
    points, rng = PointTable(b"k" * 16), np.random.default_rng(7)
    models = [load_models()[name] for name in MODELS]
    for model in models:
        points.add_model(model)
    roll, twins, first = Roll(points), TwinState(), 0
    for start_ in range(0, count, BLOCK):
        things, bases = [], first
        for number in range(start_, min(start_ + BLOCK, count)):
            model = models[number % len(models)]
            names = tuple(point.name for point in model.points)
            place = (50.5 + (number * 7 % 3_500) / 1_000, 3.5 + (number * 13 % 4_000) / 1_000)
            things.append(
                Thing(f"urn:example:{number:09d}", "org", "T", model.id, first=first, points=names, location=place)
            )
            first += len(names)
        roll.add(things)
        size = first - bases
        value, zeros = rng.uniform(0.0, 100.0, size), np.zeros(size, np.uint16)
        power = np.array([thing.first + thing.points.index("activePower") for thing in things]) - bases
        value[power] = rng.uniform(-3_000.0, 6_000.0, len(power))
        at = np.arange(bases, first, dtype=np.int32)
        twins.apply(Readings(at, np.full(size, NOW_US), value, zeros, ("b",), Channel.REPORTED, NOW_US))
    return points, roll, twins


async def search(count: int, times: int) -> None:
    """Ask a node with ``count`` descriptions."""
    with tempfile.TemporaryDirectory(prefix="gridspine-bench-", dir="/dev/shm") as folder:
        settings = Settings(
            organisation="Bench", demo=True, http=Http(port=0), archive=Archive(enabled=False),
            log=Log(reserve_bytes=1 << 20),
        )  # fmt: skip
        running = await start(settings, Path(folder) / "node")
        try:
            node = running.node
            made = node.identity.directory.add_principal(node.organisation, "application", "b", ("operator",))
            await register(node, count)
            headers = {"Authorization": f"Bearer {node.identity.demo.issue(made.id)}"}
            async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=120) as http:
                while await node.search.read(20_000):
                    pass
                await by_jsonpath(http, count, times)
                await by_sparql(http, count, times)
        finally:
            await running.stop()


async def register(node: Any, count: int) -> None:
    """Register Things by model, and one in twenty by a description of its own."""
    models = load_models()
    kinds = [models[name].id for name in MODELS]
    things = [
        Thing(f"urn:example:b:{number:06d}", node.organisation, f"Battery {number}",
              models["wind_turbine"].id if number % 1_000 == 999 else kinds[number % len(kinds)])
        for number in range(count - count // 20)
    ]  # fmt: skip
    for at in range(0, len(things), 10_000):
        await node.things.register_all(things[at : at + 10_000], actor="bench")
    caller, numbers = Caller(node.organisation, "bench", lambda: True), iter(range(count // 20))

    async def ask() -> None:
        for number in numbers:
            await node.registrar.create(description(number), caller)

    await asyncio.gather(*(ask() for _ in range(256)))


def description(number: int) -> dict[str, Any]:
    """Return a Thing Description."""
    properties = {
        name: {"type": "number", "unit": unit, "readOnly": True, "forms": [{"href": f"http://192.0.2.1/{name}"}]}
        for name, unit in (("power", "kW"), ("voltage", "V"))
    }
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"b": "https://example.org/building#"}],
        "title": f"Heat pump {number}", "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
        "floor": number % 50 if number % 50 else 7, "b:floor": number % 50, "properties": properties,
    }  # fmt: skip


async def by_jsonpath(http: httpx.AsyncClient, count: int, times: int) -> None:
    """Ask the published JSONPath queries."""
    for one in QUERIES["jsonpath"]:
        wall = []
        for _ in range(times + 1):
            began = time.perf_counter()
            answer = await http.get("/search/jsonpath", params={"query": one["query"], "limit": 100})
            wall.append(time.perf_counter() - began)
            answer.raise_for_status()
        words = (
            f"{count:,} descriptions, {answer.headers['gridspine-candidates']} candidates; {len(answer.json())} found"
        )
        goal = "≤ 20" if one["indexed"] else "≤ 200"
        report(f"JSONPath {one['name']}", goal, round(1000 * statistics.median(wall[1:]), 1), "ms", words)


async def by_sparql(http: httpx.AsyncClient, count: int, times: int) -> None:
    """Ask the published SPARQL queries, when the dataset is there."""
    began = time.perf_counter()
    while (answer := await http.get("/search/sparql", params={"query": "ASK {}"})).status_code == 503 or (
        answer.headers.get("gridspine-behind") != "0"
    ):
        await asyncio.sleep(0.5)
    answer.raise_for_status()
    seconds = time.perf_counter() - began
    children = [one for one in psutil.Process().children(recursive=True) if "sparql" in " ".join(one.cmdline())]
    held = sum(one.memory_full_info().uss for one in children) / 2**20
    report(
        "SPARQL, a dataset made", "≤ 5", round(seconds, 1), "s", f"{count:,} descriptions; {held:.0f} MiB in its child"
    )
    for one in QUERIES["sparql"]:
        wall = []
        for _ in range(times + 1):
            began = time.perf_counter()
            answer = await http.get("/search/sparql", params={"query": one["query"]})
            wall.append(time.perf_counter() - began)
            answer.raise_for_status()
        words = f"{count:,} descriptions; {answer.headers['gridspine-behind']} of them behind"
        report(f"SPARQL {one['name']}", "≤ 200", round(1000 * statistics.median(wall[1:]), 1), "ms", words)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=("ensembles", "search"), default="")
    given = parser.parse_args()
    if given.only != "search":
        ensembles(100_000 if given.short else 1_000_000, 5)
    if given.only != "ensembles":
        asyncio.run(search(5_000 if given.short else 100_000, 7))


if __name__ == "__main__":
    main()
