"""A lease on a roaming partner's EVSE, as the partner's node takes it in: facet by facet."""

import asyncio
import contextlib
import importlib.util
import json
import sys
from pathlib import Path

from one_command import TRACE, Heard, complaint

from gridspine.adapters.ocpi import cpo_profiles
from gridspine.apps.cli.reference_adapters import our_qualities
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.testing.facets import Fate, facets

ADAPTERS = Path(__file__).parents[1]
for _name, _file in {
    "ocpi_pairing": "ocpi/pairing.py", "ocpi_charge_point": "ocpi/charge_point.py",
    "ocpi_roaming": "ocpi/test_roaming.py",
}.items():  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, ADAPTERS / _file)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
from ocpi_pairing import pair, registered  # noqa: E402
from ocpi_roaming import CHARGER, CPO, TOKENS, Journey, admitted  # noqa: E402
from running_node import until  # noqa: E402

LANGUAGE = "OCPI 2.2.1 and 2.3.0"
LIMIT_A, FALLBACK_A = 10.3, 32.0
"""What is ordered; what the model of an EVSE falls back to [A]."""
SAID = {"charging_rate_unit", "start_date_time", "duration", "charging_profile_period"}


def read_us(profile):
    return parse_rfc3339(profile["start_date_time"])


def judged(language, heard):
    """Claims are so; every other state, planted, is found to be false."""
    claims = our_qualities()["ocpi"].order[language]
    for facet, claim in claims.items():
        assert complaint(facet, claim, heard) == "", language
        for state in {"kept", "part", "lost"} - {claim.state}:
            assert complaint(facet, Fate(state, "planted"), heard), (facet, state)
    assert claims.keys() == facets().keys()


class Orders:
    """What the provider orders, and what of it comes to the operator."""

    def __init__(self, journey, puts):
        self.journey, self.emsp, self.puts = journey, journey.emsp, puts

    async def order(self, value, until_us, **more):
        thing = self.journey.evse
        body = {"thing": thing, "point": "currentLimit", "value": value, "until": format_rfc3339(until_us)}
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        answer = await self.emsp.op.post("/commands", json=body | more, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def state(self, command):
        return (await self.emsp.op.get(f"/commands/{command}")).json()

    async def comes(self, command, *states):
        async with asyncio.timeout(30):
            while (found := await self.state(command))["state"] not in states:
                await asyncio.sleep(0.05)
        return found

    async def told(self, command, count):
        """Return the profile that was put as number ``count``, once the command has come."""
        await until(lambda: len(self.puts) >= count)
        await self.comes(command, "acknowledged", "applied")
        return json.loads(self.puts[count - 1].body)["charging_profile"]


@contextlib.asynccontextmanager
async def roaming(tmp_path, monkeypatch):
    """Yield the orders of a provider in a session at an operator's charge point, and that charge point."""
    puts, put = [], cpo_profiles.CpoProfiles._put

    async def listened(self, call):
        puts.append(call)
        return await put(self, call)

    monkeypatch.setattr(cpo_profiles.CpoProfiles, "_put", listened)
    async with contextlib.AsyncExitStack() as stack:
        cpo, emsp = await stack.enter_async_context(
            pair(tmp_path, cpo={**CPO, "roles": ["CPO"]}, emsp={"tokens": TOKENS, "roles": ["EMSP"]})
        )
        await until(lambda: "ocpp.ocpp" in cpo.world.node.adapters.listening)
        point = await stack.enter_async_context(sys.modules["ocpi_charge_point"].charging(cpo.world, CHARGER))
        await registered(cpo, emsp)
        journey = Journey(cpo, emsp, point, "2.3.0")
        journey.evse = await admitted(emsp)
        assert await emsp.act("remoteStart", {"token": "RFID1"}, thing=journey.evse)
        await journey.kept("sessions", "sessions", lambda one: one["status"] == "ACTIVE")
        yield Orders(journey, puts), point


async def first_order(orders, heard, end_us):
    """Give an order with a plan; hear its numbers, and what else is said of it. Return the command and what is said."""
    emsp, cpo = orders.emsp, orders.journey.cpo
    begin_us = emsp.world.node.clock.now_us() + US
    more = {"steps": [{"afterS": 300, "value": 20}], "from": format_rfc3339(begin_us)}
    command = await orders.order(LIMIT_A, end_us, **more)
    said = await orders.told(command, 1)
    (theirs,) = cpo.world.node.commands.commander.commands(CHARGER)
    arrived_us, periods = orders.puts[0].now_us, said["charging_profile_period"]
    heard.unit = {"value": 1.0, "fallback": 1.0, "start": US, "end": US}
    heard.numbers = {
        "value": (LIMIT_A, theirs.lease.value), "end": (end_us, theirs.lease.until_us),
        "start": (begin_us, read_us(said) if arrived_us < begin_us else None),
        "fallback": (FALLBACK_A, periods[1]["limit"] if len(periods) > 1 else None),
    }  # fmt: skip
    negative = (await orders.state(await orders.order(-LIMIT_A, end_us)))["state"]
    heard.states = {
        "plan": "lost" if len(periods) == 1 else "kept",
        "random-start": "kept" if "random" in str(said).lower() else "lost",
        "trace": "kept" if TRACE in str(said) else "lost",
        "sequence": "lost" if set(said) == SAID else "kept",  # nothing of which is newer
        "acknowledged": "kept", "sign": "lost" if negative in {"refused", "rejected"} else "kept",
    }  # fmt: skip
    return command, said


async def test_a_lease_of_ocpi(tmp_path, monkeypatch) -> None:
    heard = Heard()
    async with roaming(tmp_path, monkeypatch) as (orders, point):
        emsp = orders.emsp
        end_us = emsp.world.node.clock.now_us() // US * US + 600_400_000
        first, said = await first_order(orders, heard, end_us)
        assert point.limit_a == LIMIT_A
        second = await orders.order(12.0, end_us)
        await orders.told(second, 2)
        await until(lambda: point.limit_a == 12.0)
        for one in (first, second):
            assert (await emsp.op.post(f"/commands/{one}/cancel")).status_code in {200, 409}
        await until(lambda: point.limit_a == 32.0)
        heard.states["released"] = "kept"
        obey = point.obey
        point.obey = lambda action, given: (
            {"status": "Rejected"} if action == "SetChargingProfile" else obey(action, given)
        )
        reason = (await orders.comes(await orders.order(9.0, end_us), "rejected"))["reason"]
        heard.states["refused"] = "part" if "REJECTED" in reason else "kept"
        point.obey = obey
        await orders.told(await orders.order(8.0, end_us), len(orders.puts) + 1)
        await emsp.act("remoteStop", {}, thing=orders.journey.evse)
        await until(lambda: point.limit_a == 32.0)  # before its end, with the session
        await orders.journey.reads("connectorState", 1)
        heard.states["reverts"] = "part" if said["duration"] > 0 else "lost"
    judged(LANGUAGE, heard)
