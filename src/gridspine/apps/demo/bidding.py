"""The third thread of the story: a home's battery bids, is accepted, and is paid by what its registers say.

::

    Brightfield bids for the battery of home 3 ─► Northside accepts ─► the battery takes more, as it was told
    registers at the start and at the end, read by the node itself ─► one line ─► receipts ─► made again, offline
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gridspine.apps.cli.connect import check
from gridspine.energy.evidence import decode_evidence, prove
from gridspine.infra.ledger.note import parse_key

AHEAD_S, LENGTH_S, TOLERANCE_S = 3, 12, 2
POWER_W = 3_000
"""What the battery is told to take while its bid runs [W]: 10 Wh in 12 s."""
ENERGY_WH, PRICE = 8, "0.25"
_DONE_S = 30.0


@dataclass(slots=True)
class Bidding:
    """A bid under way: ``bidder`` owns the battery ``thing``, ``buyer`` runs the programme."""

    bidder: httpx.AsyncClient
    buyer: httpx.AsyncClient
    thing: str
    bid: str = ""
    ends_s: float = 0.0

    async def offer(self) -> str:
        """Enrol the battery, bid, have it accepted, and have the battery deliver; return what is to be said of it."""
        body = {"title": "Evening flexibility", "open": True}
        programme = check(await self.buyer.post("/programmes", json=body)).json()["id"]
        until = (datetime.now(UTC) + timedelta(hours=8)).isoformat()
        path = f"/programmes/{programme}/enrolments"
        asked = check(await self.bidder.post(path, json={"thing": self.thing, "until": until})).json()["id"]
        check(await self.buyer.post(f"{path}/{asked}/decision", json={"decision": "admit"}))
        begin = datetime.now(UTC) + timedelta(seconds=AHEAD_S)
        end = begin + timedelta(seconds=LENGTH_S)
        self.ends_s = time.monotonic() + AHEAD_S + LENGTH_S
        wanted = {
            "title": f"{ENERGY_WH} Wh more in {LENGTH_S} seconds", "programme": programme, "meter": self.thing,
            "from": begin.isoformat(), "until": end.isoformat(), "direction": "raise", "energyWh": ENERGY_WH,
            "baselineWh": 0, "price": PRICE, "currency": "EUR", "minorDigits": 4, "toleranceS": TOLERANCE_S,
            "waitS": 10,
        }  # fmt: skip
        self.bid = check(await self.bidder.post("/bids", json=wanted)).json()["id"]
        check(await self.buyer.post(f"/bids/{self.bid}/decision", json={"decision": "accept"}))
        command = {"thing": self.thing, "point": "activePowerSetpoint", "value": POWER_W, "until": end.isoformat()}
        check(await self.bidder.post("/commands", json=command))
        return (
            f"Brightfield bids {ENERGY_WH} Wh more of a battery in {LENGTH_S} s for {PRICE} EUR/kWh; Northside accepts"
        )

    async def settled(self) -> dict[str, Any]:
        """Wait for the line and return it; {} where none came in time."""
        deadline = self.ends_s + _DONE_S
        while time.monotonic() < deadline:
            found = check(await self.bidder.get(f"/bids/{self.bid}/settlement")).json()
            if found["lines"]:
                return dict(found["lines"][-1])
            await asyncio.sleep(0.3)
        return {}

    async def proven(self, folder: Path) -> bool:
        """Keep the evidence in ``folder``, and make the line again from it: by receipts and key alone."""
        found = check(await self.bidder.get(f"/bids/{self.bid}/settlement")).json()
        events = [found["event"], *(one["event"] for one in (*found["records"], *found["lines"]))]
        receipts = [check(await self.bidder.get(f"/receipts/{one}")).json() for one in events]
        key = check(await self.bidder.get("/ledger/key")).text
        body = msgspec.json.encode({"type": "settlement-evidence", "receipts": receipts})
        _keep(folder, body, key)
        return prove(decode_evidence(body), parse_key(key)).lines[-1][0].outcome != "unsettled"


def _keep(folder: Path, evidence: bytes, key: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bid.json").write_bytes(evidence)
    (folder / "ledger.pub").write_text(key)


def words(line: dict[str, Any]) -> str:
    """Return what is to be said of a settlement line."""
    if not line:
        return "  the bid was not settled in time: see the log of the node"
    if line["outcome"] == "unsettled":
        return f"  the bid is not settled: {line['reason']}"
    return (
        f"  the battery's registers, read by the node at both instants: {line['importWh']} Wh in, "
        f"{line['exportWh']} Wh out; delivered {line['deliveredWh']}, paid {line['paidWh']} Wh: {line['amount']}"
    )
