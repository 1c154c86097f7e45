"""Sites and programmes of the matrix: one of each to look at, fresh ones to act on, and what is asked of them."""

import time
import uuid
from typing import Any

from running_node import BATTERY, World

from gridspine.kernel.time import US, format_rfc3339

FOREVER = "2100-01-01T00:00:00Z"
BEFORE = "2024-01-01T00:00:00Z"
PROGRAMME = {
    "title": "P", "modes": ["targetW"], "signals": [{"payloadType": "PRICE"}],
    "reports": [{"payloadType": "STORAGE_CHARGE_LEVEL", "point": "stateOfCharge", "intervalS": 900}],
}  # fmt: skip
EVENT = {"title": "E", "intervals": [{"from": BEFORE, "until": FOREVER, "signals": [{"type": "PRICE", "values": [1]}]}]}
ENVELOPE = {"title": "V", "default": {"importLimitW": 99_000}}


async def _made(world: World, path: str, body: Any, status: int = 201) -> str:
    answer = await world.op.post(path, json=body)
    assert answer.status_code == status, answer.text
    return str(answer.json()["id"])


async def scene(world: World, title: str) -> dict[str, str]:
    """Make a site and a programme with all that belongs to them; return their ids."""
    site = await _made(world, "/sites", {"title": title})
    envelope = await _made(world, f"/sites/{site}/envelopes", ENVELOPE)
    programme = await _made(world, "/programmes", PROGRAMME | {"title": title})
    event = await _made(world, f"/programmes/{programme}/events", EVENT)
    ids = {"site_id": site, "envelope_id": envelope, "programme_id": programme, "programme_event_id": event}
    ids |= await _enrolment(world, programme)
    ids["programme_report_id"] = await _made(world, f"/programmes/{programme}/reports", report(ids))
    ids["bid_id"] = await _bid(world, programme)
    return ids


async def fresh(world: World, path: str, ids: dict[str, str]) -> dict[str, str]:
    """Return ids of new ones for a request to ``path``, where it changes or ends them."""
    if path == "/sites/{site_id}":
        return {"site_id": await _made(world, "/sites", {"title": "S"})}
    if path.endswith("{envelope_id}"):
        return {"envelope_id": await _made(world, f"/sites/{ids['site_id']}/envelopes", ENVELOPE)}
    if path == "/programmes/{programme_id}":
        return {"programme_id": await _made(world, "/programmes", PROGRAMME)}
    if path == "/bids":
        return {"thing_id": await _metered(world, ids["programme_id"])}
    if path.startswith("/bids/{bid_id}/"):
        return {"bid_id": await _bid(world, ids["programme_id"])}
    if path.endswith("{programme_event_id}/cancel"):
        return {"programme_event_id": await _made(world, f"/programmes/{ids['programme_id']}/events", EVENT)}
    if path == "/programmes/{programme_id}/enrolments":
        return {"thing_id": await world.thing(f"urn:uuid:{uuid.uuid4()}", BATTERY, adapter="none")}
    if "{enrolment_id}/" in path:
        found = await _enrolment(world, ids["programme_id"])
        if path.endswith("/opt-in"):
            way = f"/programmes/{ids['programme_id']}/enrolments/{found['enrolment_id']}/opt-out"
            await _made(world, way, {"event": ids["programme_event_id"]}, 200)
        return found
    return {}


async def _enrolment(world: World, programme: str) -> dict[str, str]:
    thing = await world.thing(f"urn:uuid:{uuid.uuid4()}", BATTERY, adapter="none")
    body = {"thing": thing, "from": BEFORE, "until": FOREVER}
    return {"enrolment_id": await _made(world, f"/programmes/{programme}/enrolments", body)}


def bid(programme: str, meter: str) -> dict[str, Any]:
    """Return a bid that can be made."""
    day_us = 86_400 * US
    begin_us = (time.time_ns() // 1000 // day_us + 30) * day_us
    times = {"from": format_rfc3339(begin_us), "until": format_rfc3339(begin_us + 3600 * US)}
    money = {"energyWh": 2_000, "baselineWh": 500, "price": "0.25", "currency": "EUR"}
    return {"title": "B", "programme": programme, "meter": meter, "direction": "shed", **times, **money}


async def _metered(world: World, programme: str) -> str:
    thing = await world.thing(f"urn:uuid:{uuid.uuid4()}", BATTERY, adapter="none")
    await _made(world, f"/programmes/{programme}/enrolments", {"thing": thing, "from": BEFORE, "until": FOREVER})
    return thing


async def _bid(world: World, programme: str) -> str:
    return await _made(world, "/bids", bid(programme, await _metered(world, programme)))


def report(ids: dict[str, str]) -> dict[str, str]:
    """Return a report that can be delivered."""
    quarter_us = 900 * US
    from_us = 1_900_000 * quarter_us  # in 2024
    times = {"from": format_rfc3339(from_us), "until": format_rfc3339(from_us + quarter_us)}
    return {"enrolment": ids["enrolment_id"], "payloadType": "STORAGE_CHARGE_LEVEL", **times}


def bodies(ids: dict[str, str]) -> dict[str, Any]:
    """Return what is sent to each path."""
    enrolment = "/programmes/{programme_id}/enrolments/{enrolment_id}"
    return {
        "/sites": {"title": "S"},
        "/sites/{site_id}": {"title": "S"},
        "/sites/{site_id}/envelopes": ENVELOPE,
        "/sites/{site_id}/envelopes/{envelope_id}": ENVELOPE,
        "/programmes": PROGRAMME,
        "/programmes/{programme_id}": PROGRAMME,
        "/programmes/{programme_id}/events": EVENT,
        "/programmes/{programme_id}/events/{programme_event_id}/cancel": {"reason": "r"},
        "/programmes/{programme_id}/enrolments": {"thing": ids["thing_id"], "until": FOREVER},
        f"{enrolment}/decision": {"decision": "end"},
        f"{enrolment}/withdraw": {"reason": "r"},
        f"{enrolment}/opt-out": {"event": ids["programme_event_id"]},
        f"{enrolment}/opt-in": {"event": ids["programme_event_id"]},
        "/programmes/{programme_id}/reports": report(ids),
        "/bids": bid(ids["programme_id"], ids["thing_id"]),
        "/bids/{bid_id}/decision": {"decision": "accept"},
        "/bids/{bid_id}/withdraw": {"reason": "r"},
    }
