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
from gridspine.apps.demo.homes import Home
from gridspine.apps.demo.story import Story, receipts_file
from gridspine.apps.demo.subscriber import Got, reading

CUT_WITHIN_S = 1.0
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
    """Fetch every receipt of grant and commands, and verify them in a process that knows the public key only."""
    folder = story.data / "receipts"
    files = []
    for http, subject in [(story.northside, story.grant)] + [(story.brightfield, c) for c in story.commands]:
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
