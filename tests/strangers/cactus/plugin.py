"""What an administrator of a node does when CACTUS asks for it: by the node's HTTP API, and its file of rates."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from cactus_client.admin import hookimpl
from cactus_client.model.execution import ActionResult

MODES = [
    "importLimitW", "exportLimitW", "generationLimitW", "loadLimitW", "connect", "energise", "rampS",
    "gradientPercentPerS",
]  # fmt: skip
CONTROL = {
    "opModExpLimW": "exportLimitW", "opModImpLimW": "importLimitW", "opModGenLimW": "generationLimitW",
    "opModLoadLimW": "loadLimitW", "opModConnect": "connect", "opModEnergize": "energise",
}  # fmt: skip
RATES = {
    "DeviceCapability": "device_capability", "EndDeviceList": "end_device_list",
    "FunctionSetAssignmentsList": "function_set_assignments_list", "DERProgramList": "der_program_list",
    "DERList": "der_list", "MirrorUsagePointList": "mirror_usage_point_list", "MirrorUsagePoint": "mirror_usage_point",
}  # fmt: skip
ALL_TIME = "2099-01-01T00:00:00Z"
SERVED_S = 0.8
"""How long the node may take to show what was changed of Things and rates."""
FIRST_S, LASTS_S, ACTIVE_S = 8, 20, 300
"""When a scheduled control begins, how long it lasts; how long an active one does."""


class Client:
    """A client of a procedure: its Things, site and programmes at the node."""

    def __init__(self, config, job):
        self.config, self.job = config, job["clients"][config.id]
        self.things, self.site, self.programmes = [], "", {}

    @property
    def latest(self):
        return list(self.programmes.values())[-1] if self.programmes else None


class NodePlugin:
    """The plugin; ``job`` says where the node is and who its clients are."""

    def __init__(self, job):
        self._job = job
        self._clients = {}
        self._rates = {}

    @hookimpl
    async def admin_setup(self, context):
        headers = {"Authorization": f"Bearer {self._job['token']}"}
        self._http = aiohttp.ClientSession(self._job["node"], headers=headers)
        self._clients = {alias: Client(config, self._job) for alias, config in context.client_configs.items()}
        for client in self._clients.values():
            if "aggregator" not in client.job:  # whoever's last Thing was taken out is known no more
                await self._know(client)
        self._rate(mirror_usage_point=2)
        await asyncio.sleep(SERVED_S)
        return ActionResult.done()

    @hookimpl
    async def admin_teardown(self, context):
        for client in self._clients.values():
            for programme in client.programmes.values():
                await self._ask(
                    "POST", f"/programmes/{programme['id']}/enrolments/{programme['enrolment']}/withdraw", {}
                )
                await self._ask("DELETE", f"/programmes/{programme['id']}")
            await self._leave(client)
            if "aggregator" not in client.job:
                await self._ask("POST", f"/principals/{client.job['principal']}/deactivate", allow={404, 409})
        await self._http.close()
        await asyncio.sleep(SERVED_S)
        return ActionResult.done()

    @hookimpl
    async def admin_instruction(self, instruction, step, context):
        alias = instruction.client or next(iter(self._clients))
        does = getattr(self, "_" + instruction.type.replace("-", "_"))
        await does(self._clients[alias], **instruction.parameters)
        return ActionResult.done()

    async def _know(self, client):
        body = {"kind": "device", "name": client.config.id, "roles": ["device"]}
        principal = client.job["principal"] = (await self._ask("POST", "/principals", body))["id"]
        certificate = Path(client.config.certificate_file).read_text()
        await self._ask("POST", f"/principals/{principal}/known-certificates", {"certificate": certificate})

    # -- devices -------------------------------------------------------------------------------------------------------

    async def _ensure_end_device(self, client, registered, **_):
        if not registered:
            await self._leave(client)
        elif not client.things:
            job = client.job
            der = {"lfdi": client.config.lfdi, "pin": client.config.pin}
            if "aggregator" in job:
                der["aggregator"] = job["aggregator"]
            thing = await self._thing(client, der)
            await self._thing(client, {"lfdi": client.config.lfdi, "role": "site"})
            client.site = (await self._ask("POST", "/sites", {"title": "Home", "things": [thing]}))["id"]
        await asyncio.sleep(SERVED_S)

    async def _thing(self, client, connection):
        body = {
            "id": f"urn:uuid:{uuid.uuid4()}", "title": "DER under test", "model": self._job["model"],
            "adapter": "ieee2030_5", "devices": [client.job["principal"]], "connection": connection,
        }  # fmt: skip
        client.things.append((await self._ask("POST", "/things", body))["id"])
        return client.things[-1]

    async def _leave(self, client):
        if client.site:
            await self._ask("DELETE", f"/sites/{client.site}")
        for thing in client.things:
            await self._ask("DELETE", f"/things/{thing}")
        client.things, client.site = [], ""

    async def _set_client_access(self, client, granted):
        """A client without access is a principal that was deactivated; it gets it back as a new one."""
        if granted:
            await self._know(client)
        else:
            await self._ask("POST", f"/principals/{client.job['principal']}/deactivate")

    async def _ensure_mup_list_empty(self, client):
        """A device that was registered anew mirrors nothing."""

    # -- programmes ----------------------------------------------------------------------------------------------------

    async def _ensure_fsa(self, client, annotation="fsa", primacy=None):
        if annotation not in client.programmes:
            await self._programme(client, annotation, [], primacy)

    async def _ensure_der_program(self, client, fsa_annotation="fsa", primacy=None):
        programme = client.programmes.get(fsa_annotation)
        if programme is None:
            await self._programme(client, fsa_annotation, MODES, primacy)
            return
        path = f"/programmes/{programme['id']}"
        await self._ask("POST", f"{path}/enrolments/{programme['enrolment']}/withdraw", {})
        programme["body"] |= {"modes": MODES} | ({} if primacy is None else {"primacy": primacy})
        await self._ask("PUT", path, programme["body"])
        programme["enrolment"] = await self._enrol(client, programme["id"])

    async def _ensure_der_control_list(self, client, **_):
        await self._for(client, None)

    async def _programme(self, client, annotation, modes, primacy):
        body = {"title": annotation, "modes": modes, "primacy": 10 if primacy is None else primacy}
        made = (await self._ask("POST", "/programmes", body))["id"]
        enrolment = await self._enrol(client, made)
        found = {"id": made, "enrolment": enrolment, "body": body, "events": [], "ends": None}
        client.programmes[annotation] = found
        return found

    async def _enrol(self, client, programme):
        body = {"site": client.site, "until": ALL_TIME}
        return (await self._ask("POST", f"/programmes/{programme}/enrolments", body))["id"]

    async def _for(self, client, primacy):
        """Return the programme that a control is of: by its primacy, else the latest; made where there is none."""
        own = client.programmes.values()
        if primacy is not None:
            found = next((one for one in own if one["body"]["primacy"] == primacy), None)
        else:
            found = next((one for one in reversed(own) if one["body"]["modes"]), None)
        return found or await self._programme(client, f"programme {len(own)}", MODES, primacy)

    # -- controls ------------------------------------------------------------------------------------------------------

    async def _create_der_control(self, client, status, primacy=None, **asked):
        programme = await self._for(client, primacy)
        now = datetime.now(UTC).replace(microsecond=0)
        if status == "active":
            begins, lasts_s = now - timedelta(seconds=1), asked.get("duration_seconds", ACTIVE_S)
        else:
            offset_s = asked.get("start_offset_seconds")
            stacked = max(now + timedelta(seconds=FIRST_S), programme["ends"] or now)
            begins = stacked if offset_s is None else now + timedelta(seconds=offset_s)
            lasts_s = asked.get("duration_seconds", LASTS_S)
            programme["ends"] = begins + timedelta(seconds=lasts_s)
        chance_s = asked.get("randomizeStart_seconds", 0)
        ends = begins + timedelta(seconds=lasts_s + chance_s)
        interval = {"from": begins.isoformat(), "until": ends.isoformat(), "control": _control(asked)}
        body = {
            "title": "control", "intervals": [interval], "randomiseStartS": chance_s, "randomiseKeepsLength": True,
        }  # fmt: skip
        made = await self._ask("POST", f"/programmes/{programme['id']}/events", body)
        programme["events"].append(made["id"])

    async def _create_default_der_control(self, client, primacy=None, **asked):
        programme = await self._for(client, primacy)
        programme["body"]["defaultControl"] = _control(asked)
        await self._ask("PUT", f"/programmes/{programme['id']}", programme["body"])

    async def _clear_der_controls(self, client, all=False):
        for programme in client.programmes.values():
            events = programme["events"] if all else programme["events"][-1:]
            for event in events:
                path = f"/programmes/{programme['id']}/events/{event}/cancel"
                await self._ask("POST", path, {"reason": "cleared"}, allow={409})
            programme["events"], programme["ends"] = [one for one in programme["events"] if one not in events], None

    # -- rates ---------------------------------------------------------------------------------------------------------

    async def _set_poll_rate(self, client, resource, rate_seconds):
        self._rate(**{RATES[resource]: rate_seconds})
        await asyncio.sleep(SERVED_S)

    _set_post_rate = _set_poll_rate

    def _rate(self, **rates):
        self._rates |= rates
        Path(self._job["rates"]).write_text("".join(f"{name} = {rate}\n" for name, rate in self._rates.items()))

    async def _ask(self, method, path, body=None, *, allow=(), media="application/json"):
        data = None if body is None else json.dumps(body)
        async with self._http.request(method, path, data=data, headers={"content-type": media}) as answer:
            text = await answer.text()
            if answer.status >= 400 and answer.status not in allow:
                raise RuntimeError(f"{method} {path} {data}: {answer.status} {text}")
            return json.loads(text) if text else None


def _control(asked):
    control = {ours: asked[theirs] for theirs, ours in CONTROL.items() if theirs in asked}
    if "rampTms" in asked and asked["rampTms"] is not None:
        control["rampS"] = asked["rampTms"] / 100
    if "setGradW" in asked:
        control["gradientPercentPerS"] = asked["setGradW"] / 100
    return control
