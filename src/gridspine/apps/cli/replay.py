"""``gridspine replay``: a home's year of hourly energy sent in as backfill, by the same way as any reading."""

import asyncio
import csv
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.connect import check, connected
from gridspine.apps.node.paths import data_directory
from gridspine.kernel.codecs.arrow import encode_arrow
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import from_datetime, parse_rfc3339, to_datetime

HOME_MODEL = "https://gridspine.org/models/home"
POST_READINGS = 10_000
_COLUMNS = ("non_shiftable_load", "solar_generation")


def replay(
    file: Annotated[Path, typer.Argument(help="CSV of a home: non_shiftable_load [kWh], solar_generation [W/kW].")],
    start: Annotated[
        str, typer.Option(help="Start of the first hour, RFC 3339 with offset (seconds may be left out).")
    ],
    pv_kw: Annotated[float, typer.Option("--pv-kw", help="Peak power of the home's panels [kW].")] = 0.0,
    thing: Annotated[str, typer.Option(help="Thing to send as (default: urn:example:<file name>).")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Send a home's hours as backfill: screened, kept and archived like any reading, twice makes no difference."""
    name = thing or f"urn:example:{file.stem.lower().replace('_', '-')}"
    load_kwh, solar_kwh = read_home(file, pv_kw)
    observed_us = hour_ends(start, len(load_kwh))
    totals = asyncio.run(_send(data_directory(data), client, name, observed_us, load_kwh, solar_kwh))
    print(
        f"{name}: received {totals['received']}, accepted {totals['accepted']}, duplicate {totals['duplicate']}, "
        f"refused {totals['refused']} in {totals['seconds']:.2f} s"
    )
    print(f"  {to_datetime(int(observed_us[0]))} … {to_datetime(int(observed_us[-1]))}")
    print(f"  {load_kwh.sum():.3f} kWh consumed, {solar_kwh.sum():.3f} kWh produced")
    print(
        f"try: gridspine query \"select property, sum(value) from readings where thing = '{name}' group by property\""
    )


def read_home(file: Path, pv_kw: float) -> tuple[Any, Any]:
    """Return the energy consumed and produced in each hour [kWh], float64 of shape (hours,)."""
    try:
        with file.open(newline="") as lines:
            reader = csv.DictReader(lines)
            missing = set(_COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise Invalid(f"{file} has no column {', '.join(sorted(missing))}")
            rows = [(float(row[_COLUMNS[0]]), float(row[_COLUMNS[1]])) for row in reader]
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise Invalid(f"{file}: {error}") from error
    if not rows:
        raise Invalid(f"{file} has no rows")
    values = np.array(rows, np.float64)
    # Solar generation is mean power per kW of panels: W/kW over one hour times kW is Wh.
    return values[:, 0], values[:, 1] * pv_kw / 1000.0


def hour_ends(start: str, hours: int) -> Any:
    """Return the end of each hour [µs since 1970], int64 of shape (hours,)."""
    try:
        begin_us = parse_rfc3339(start)
    except Invalid:
        try:
            begin_us = from_datetime(datetime.fromisoformat(start))
        except ValueError as error:
            raise Invalid(f"--start: {start!r} is not a time such as 2016-07-31T23:00-08:00") from error
    hour_us = timedelta(hours=1) // timedelta(microseconds=1)
    return begin_us + hour_us * np.arange(1, hours + 1, dtype=np.int64)


async def _send(data: Path, client: str, name: str, observed_us: Any, load: Any, solar: Any) -> dict[str, float]:
    names = [f"{name}/consumedEnergy", f"{name}/producedEnergy"]
    index = np.tile(np.array([0, 1], np.int32), len(load))
    times = np.repeat(observed_us, 2)
    values = np.column_stack((load, solar)).reshape(-1)
    totals: dict[str, float] = dict.fromkeys(("received", "accepted", "suppressed", "duplicate", "refused"), 0)
    async with connected(data, client) as http:
        await _ensure_thing(http, name)
        began = time.perf_counter()
        for at in range(0, len(values), POST_READINGS):
            part = slice(at, at + POST_READINGS)
            quality = np.zeros(len(values[part]), np.uint16)
            body = encode_arrow(names, index[part], times[part], values[part], quality)
            headers = {"content-type": "application/vnd.apache.arrow.stream", "backfill": "true"}
            outcome = check(await http.post("/readings", content=body, headers=headers)).json()
            if outcome["problems"]:
                raise Invalid(f"the node refused a reading: {outcome['problems'][0]}")
            for key in totals:
                totals[key] += outcome[key]
        totals["seconds"] = time.perf_counter() - began
    return totals


async def _ensure_thing(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get(f"/things/{name}")
    if answer.status_code == 200:
        return
    title = name.rpartition(":")[2].replace("-", " ").capitalize()
    check(await http.post("/things", json={"id": name, "title": title, "model": HOME_MODEL}))
