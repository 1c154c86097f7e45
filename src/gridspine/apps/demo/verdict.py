"""Did the story hold? The figures of a demonstration, and every claim that failed."""

import asyncio
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from gridspine.apps.cli.connect import check
from gridspine.apps.demo import csip
from gridspine.apps.demo.charging import charging, limited
from gridspine.apps.demo.evening import LIMIT_W, drawn
from gridspine.apps.demo.homes import HOMES, Home
from gridspine.apps.demo.neighbourhood import EMULATED_BATTERY, NEIGHBOURS, PREFIX, members, plant_values
from gridspine.apps.demo.story import Story, receipts_file
from gridspine.apps.demo.subscriber import Got, reading

IDLE_WITHIN_W = 100.0


@dataclass(slots=True)
class Verdict:
    """Figures by name, and what did not hold."""

    figures: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def hold(self, claim: str, *, true: bool) -> None:
        """Note ``claim``; keep it when it is not true."""
        if not true:
            self.failed.append(claim)


async def judge_counts(story: Story, verdict: Verdict) -> None:
    """Ask the node what it counted, and history what it holds."""
    status = check(await story.northside.get("/status")).json()
    counts = status["readings"]
    verdict.figures.update({"things": status["things"], "points": status["points"], **counts})
    parts = sum(counts[name] for name in ("accepted", "suppressed", "duplicate", "refused"))
    verdict.hold("received = accepted + suppressed + duplicate + refused", true=counts["received"] == parts)
    verdict.hold("readings arrived from the devices", true=counts["accepted"] > 0)
    answer = check(await story.northside.post("/query", json={"sql": "select count(*) from revisions"})).json()
    later = check(await story.northside.get("/status")).json()["readings"]
    verdict.figures["stored"] = status["stored"]
    # Readings go on arriving between the three questions: what history holds lies between the two counts.
    held = counts["accepted"] <= answer["rows"][0][0] <= later["accepted"] and status["stored"] == counts["accepted"]
    verdict.hold("what was accepted is stored", true=held)


async def judge_delivery(story: Story, verdict: Verdict) -> None:
    """Compare what the granted consumer got with what its owner finds in the log between the same cursors."""
    granted = story.granted
    verdict.figures["delivered"] = len(granted.got)
    verdict.figures["p50_ms"] = round(granted.percentile_ms(50), 1)
    verdict.figures["p99_ms"] = round(granted.percentile_ms(99), 1)
    wanted = await _between(story.northside, story.product, granted.first_cursor, granted.cursor)
    verdict.hold("the granted consumer got readings", true=len(granted.got) > 0)
    verdict.hold(
        "the granted consumer got exactly its product's accepted readings", true=Counter(granted.got) == wanted
    )
    verdict.hold("the ungranted got none", true=story.ungranted.status == 403 and not story.ungranted.got)
    after = await story.brightfield.get(f"/products/{story.product}/readings")
    verdict.hold("the revoked consumer can pull nothing more", true=after.status_code == 403)


async def judge_receipts(story: Story, verdict: Verdict) -> None:
    """Fetch the receipts of grant, commands and a battery's life; verify them in a process that knows a key only."""
    folder = story.data / "receipts"
    files = []
    subjects = [(story.northside, story.grant), (story.brightfield, story.box.thing)]
    for http, subject in subjects + [(story.brightfield, command) for command in story.commands]:
        for event in check(await http.get("/receipts", params={"subject": subject})).json():
            body = check(await http.get(f"/receipts/{event['id']}")).content
            files.append(receipts_file(folder, event["id"], body))
    key = folder / "ledger.pub"
    key.write_text(check(await story.northside.get("/ledger/key")).text + "\n")
    command = [sys.executable, "-m", "gridspine.apps.cli", "ledger", "verify", "--key", str(key), *map(str, files)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    verdict.figures["receipts_verified"] = done.stdout.count("ok ")
    all_good = done.returncode == 0 and verdict.figures["receipts_verified"] == len(files) > 0
    verdict.hold("every receipt verifies offline", true=all_good)


async def judge_life(story: Story, verdict: Verdict) -> None:
    """Read the life of the battery that came out of its box, as its owner does: all of it, in order, with receipts."""
    answer = check(await story.brightfield.get(f"/things/{story.box.thing}/history", params={"limit": 500})).json()
    entries = list(reversed(answer["entries"]))
    wanted = ("thing.announced", "thing.commissioned", "command.applied", "thing.meter-exchanged")
    places = [_first(entries, type_) for type_ in wanted]
    verdict.figures["life_events"] = len(entries)
    in_order = None not in places and places == sorted(place for place in places if place is not None)
    verdict.hold(
        "the battery was announced, commissioned, commanded, its meter exchanged, in this order", true=in_order
    )
    verdict.hold("nothing was wrong with the battery when it was examined", true=story.report.get("passed") is True)


async def judge_ensemble(story: Story, verdict: Verdict, commanded: Home) -> None:
    """Gather the saved ensemble while a battery is commanded: the others are in it, that one is not."""
    found = await members(story.brightfield, story.ensemble, HOMES - 1)
    ids = {one["id"] for one in found["members"]}
    verdict.figures["ensemble_members"] = found["sums"]["count"]
    others = {home.battery_id for home in story.homes if home is not commanded}
    verdict.hold("the ensemble has the batteries that are free, and not the one that is commanded", true=ids == others)
    wanted = {"activePower", "memberCount"}
    sums = await plant_values(story.brightfield, story.ensemble, wanted)
    verdict.hold("the ensemble is a Thing whose properties are its sums", true=wanted <= sums.keys())
    verdict.hold("the ensemble's sum is what its members can do", true=found["sums"]["raiseW"] >= 1000 * len(others))


async def judge_channels(story: Story, verdict: Verdict) -> None:
    """Read channels side by side: the battery's plan and what it reported, and neighbours that are emulated only."""
    own = await story.box.channels("activePower")
    verdict.hold("plan and report stand side by side", true=bool(own["planned"] and own["reported"]))
    verdict.hold("nothing of a real battery is emulated", true=own["emulated"] is None)
    joined = await story.joining
    verdict.hold("emulated neighbours joined", true=joined)
    if joined:
        points = check(await story.northside.get(f"/things/{EMULATED_BATTERY}/channels")).json()
        mixed = [one["name"] for one in points if one["reported"] is not None]
        verdict.hold("what is emulated is not reported", true=not mixed)
    things = check(await story.northside.get("/things", params={"limit": 5000})).json()
    verdict.figures["emulated_things"] = sum(one["id"].startswith(PREFIX) for one in things)
    verdict.hold("all emulated neighbours are Things", true=verdict.figures["emulated_things"] == NEIGHBOURS)


async def judge_charging(story: Story, verdict: Verdict) -> None:
    """See who charges, limit it, and see that the charge point says so."""
    home = story.homes[2]
    found = await charging(story.brightfield, home)
    verdict.figures["charging_w"] = round(found["power_w"])
    verdict.hold("a car charges", true=found["power_w"] > IDLE_WITHIN_W and len(found["transactions"]) == 1)
    command = await limited(story.brightfield, home, 10.0, 20.0)
    story.commands.append(command["id"])
    story.say(f"  limited to 10 A a phase: {command['state']}")
    verdict.hold("the charge point says that the limit holds", true=command["state"] == "applied")


async def judge_export(story: Story, verdict: Verdict) -> None:
    """See that the CSIP-AUS inverter keeps what its connection point may export."""
    found = await csip.limited(story.brightfield, story.homes[0])
    verdict.figures["csip_w"] = None if found["power_w"] is None else round(found["power_w"])
    story.say(f"  the CSIP-AUS inverter gives {-(found['power_w'] or 0):.0f} W, as its DERControl says")
    verdict.hold("the CSIP-AUS inverter keeps its connection point's limit", true=found["held"])


async def judge_ven(story: Story, verdict: Verdict) -> None:
    """See that the VEN draws no more than the event leaves it, by what it reports."""
    found = await drawn(story.brightfield, story.homes[0])
    verdict.figures["ven_w"] = None if found is None else round(found["value"])
    told = found is not None and found["value"] <= LIMIT_W
    story.say(f"  the heat pump reports {verdict.figures['ven_w']} W upon the event")
    verdict.hold("a VEN obeys an event and reports upon it", true=told)


def _first(entries: list[dict[str, Any]], type_: str) -> int | None:
    return next((place for place, entry in enumerate(entries) if entry["type"] == type_), None)


async def judge_fallback(home: Home, verdict: Verdict, *, obeying: bool) -> float:
    """Ask the battery itself, by raw Modbus, what it does now; return its power [W], import positive."""
    power_w = await asyncio.to_thread(battery_power_w, home.battery.port)
    if obeying:
        verdict.hold("the battery obeys its lease after the node was killed", true=power_w > IDLE_WITHIN_W)
    else:
        verdict.hold("the battery fell back at the lease's end by itself", true=abs(power_w) < IDLE_WITHIN_W)
    return power_w


def battery_power_w(port: int) -> float:
    """Read a battery's active power [W], import positive, by a SunSpec client that is not the node's. Blocks."""
    battery = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port)
    try:
        battery.scan()
        return -float(battery.DERMeasureAC[0].W.cvalue)  # SunSpec 701 counts generation as positive
    finally:
        battery.close()


async def _between(http: httpx.AsyncClient, product: str, start: str, end: str) -> Counter[Got]:
    """Return the readings of a product that its own organisation finds between two cursors."""
    found: Counter[Got] = Counter()
    cursor, last = start, int(end.rpartition(":")[2] or 0)
    while cursor and int(cursor.rpartition(":")[2]) < last:
        answer = check(await http.get(f"/products/{product}/readings", params={"cursor": cursor, "limit": 1}))
        if int(answer.headers["gridspine-cursor"].rpartition(":")[2]) > last:
            break
        found.update(reading(record) for record in msgspec.json.decode(answer.content))
        cursor = answer.headers["gridspine-cursor"]
    return found
