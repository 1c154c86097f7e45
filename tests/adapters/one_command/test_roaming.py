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


async def test_a_lease_of_ocpi(tmp_path, monkeypatch) -> None:
    heard, puts = Heard(), []
    put = cpo_profiles.CpoProfiles._put

    async def listened(self, call):
        puts.append((self, call))
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

        async def order(value, until_us, **more):
            body = {"thing": journey.evse, "point": "currentLimit", "value": value, "until": format_rfc3339(until_us)}
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            answer = await emsp.op.post("/commands", json=body | more, headers=headers)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"]

        async def taken(ordered):
            return (await emsp.op.get(f"/commands/{await ordered}")).json()["state"] not in {"refused", "rejected"}

        async def comes(command, *states):
            async with asyncio.timeout(30):
                while True:
                    found = (await emsp.op.get(f"/commands/{command}")).json()
                    if found["state"] in states:
                        return found
                    await asyncio.sleep(0.05)

        async def told(command, count):
            await until(lambda: len(puts) >= count)
            await comes(command, "acknowledged", "applied")
            return json.loads(puts[count - 1][1].body)["charging_profile"]

        now_us = emsp.world.node.clock.now_us()
        end_us = now_us // US * US + 600_400_000
        assert await emsp.act("remoteStart", {"token": "RFID1"}, thing=journey.evse)
        await journey.kept("sessions", "sessions", lambda one: one["status"] == "ACTIVE")
        begin_us = emsp.world.node.clock.now_us() + US
        first = await order(LIMIT_A, end_us, steps=[{"afterS": 300, "value": 20}], **{"from": format_rfc3339(begin_us)})
        said = await told(first, 1)
        (theirs,) = cpo.world.node.commands.commander.commands(CHARGER)
        arrived_us, periods = puts[0][1].now_us, said["charging_profile_period"]
        heard.unit = {"value": 1.0, "fallback": 1.0, "start": US, "end": US}
        heard.numbers = {
            "value": (LIMIT_A, theirs.lease.value), "end": (end_us, theirs.lease.until_us),
            "start": (begin_us, read_us(said) if arrived_us < begin_us else None),
            "fallback": (FALLBACK_A, periods[1]["limit"] if len(periods) > 1 else None),
        }  # fmt: skip
        assert point.limit_a == LIMIT_A
        heard.states = {
            "plan": "lost" if len(periods) == 1 else "kept",
            "random-start": "kept" if "random" in str(said).lower() else "lost",
            "trace": "kept" if TRACE in str(said) else "lost",
            "acknowledged": "kept", "sign": "kept" if await taken(order(-LIMIT_A, end_us)) else "lost",
        }  # fmt: skip
        second = await order(12.0, end_us)
        await told(second, 2)
        await until(lambda: point.limit_a == 12.0)
        heard.states["sequence"] = "lost" if set(said) == SAID else "kept"  # nothing of which is newer
        for one in (first, second):
            assert (await emsp.op.post(f"/commands/{one}/cancel")).status_code in {200, 409}
        await until(lambda: point.limit_a == 32.0)
        heard.states["released"] = "kept"
        obey = point.obey
        point.obey = lambda action, given: (
            {"status": "Rejected"} if action == "SetChargingProfile" else obey(action, given)
        )
        reason = (await comes(await order(9.0, end_us), "rejected"))["reason"]
        heard.states["refused"] = "part" if "REJECTED" in reason else "kept"
        point.obey = obey
        await told(await order(8.0, end_us), len(puts) + 1)
        await emsp.act("remoteStop", {}, thing=journey.evse)
        await until(lambda: point.limit_a == 32.0)  # before its end, with the session
        await journey.reads("connectorState", 1)
        heard.states["reverts"] = "part" if said["duration"] > 0 else "lost"
    judged(LANGUAGE, heard)
