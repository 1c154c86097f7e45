"""A provider for drivers made with extrawest-ocpi: it is registered at, takes what is pushed, and fetches by itself.

Its own models read all of it; what they refuse it answers 422 or 3000, and no line is written. Each thing it took is a
line of JSON on standard output; a line on standard input has it fetch, or push a token.
"""

import asyncio
import base64
import json
import os
import sys

GIVEN = json.loads(sys.stdin.readline())
os.environ |= {
    "OCPI_HOST": f"127.0.0.1:{GIVEN['port']}", "PROTOCOL": "http", "COUNTRY_CODE": "FR", "PARTY_ID": "EXT",
    "CI_STRING_LOWERCASE_PREFERENCE": "false",
}  # fmt: skip

import httpx  # noqa: E402
import uvicorn  # noqa: E402
from py_ocpi import get_application  # noqa: E402
from py_ocpi.core.authentication.authenticator import Authenticator  # noqa: E402
from py_ocpi.core.enums import ModuleID, RoleEnum  # noqa: E402
from py_ocpi.modules.cdrs.v_2_2_1.schemas import Cdr  # noqa: E402
from py_ocpi.modules.locations.v_2_2_1.schemas import Location  # noqa: E402
from py_ocpi.modules.sessions.v_2_2_1.schemas import Session  # noqa: E402
from py_ocpi.modules.tariffs.v_2_2_1.schemas import Tariff  # noqa: E402
from py_ocpi.modules.tokens.v_2_2_1.schemas import Token  # noqa: E402
from py_ocpi.modules.versions.enums import VersionNumber  # noqa: E402

SHOWN = "token-c-of-the-stranger"
MODELS = {"locations": Location, "sessions": Session, "cdrs": Cdr, "tariffs": Tariff}
KEPT: dict = {}
PARTNER: dict = {}


def say(**words):
    print(json.dumps(words, default=str), flush=True)


class Crud:
    @classmethod
    async def get(cls, module, role, id, *args, **kwargs):
        return KEPT.get((module, id))

    @classmethod
    async def list(cls, module, role, filters, *args, **kwargs):
        return [], 0, True

    @classmethod
    async def create(cls, module, role, data, *args, **kwargs):
        if module == ModuleID.credentials_and_registration:
            PARTNER.update(data)
            say(registered=data["credentials"]["roles"][0]["party_id"])
            details = {"name": "Stranger"}
            roles = [{"role": "EMSP", "business_details": details, "party_id": "EXT", "country_code": "FR"}]
            url = f"http://127.0.0.1:{GIVEN['port']}/ocpi/versions"
            return {"token": SHOWN, "url": url, "roles": roles}
        KEPT[module, data["id"]] = data
        say(created=module.value, data=data)
        return data

    @classmethod
    async def update(cls, module, role, data, id, *args, **kwargs):
        KEPT[module, id] = KEPT.get((module, id), {}) | data
        say(updated=module.value, data=data)
        return KEPT[module, id]

    @classmethod
    async def do(cls, *args, **kwargs):
        return None


class Tokens(Authenticator):
    @classmethod
    async def get_valid_token_c(cls):
        return [SHOWN]

    @classmethod
    async def get_valid_token_a(cls):
        return [GIVEN["token"]]


async def fetch():
    """Fetch every list of the partner, and read each object by the library's own models."""
    token = base64.b64encode(PARTNER["credentials"]["token"].encode()).decode()
    found = {}
    async with httpx.AsyncClient(headers={"authorization": f"Token {token}"}) as http:
        for endpoint in PARTNER["endpoints"]["endpoints"]:
            model = MODELS.get(endpoint["identifier"])
            if model is not None and endpoint["role"] == "SENDER":
                answer = (await http.get(endpoint["url"])).json()
                found[endpoint["identifier"]] = [model(**one).id for one in answer["data"]]
    say(fetched=found)


async def push_token():
    """Push a driver's token, as the library's own model writes it."""
    token = Token(
        country_code="FR", party_id="EXT", uid="RFID9", type="RFID", contract_id="FR-EXT-1", issuer="Stranger",
        valid=True, whitelist="ALLOWED", last_updated="2026-01-31T12:00:00Z",
    )  # fmt: skip
    word = base64.b64encode(PARTNER["credentials"]["token"].encode()).decode()
    where = next(one["url"] for one in PARTNER["endpoints"]["endpoints"] if one["identifier"] == "tokens")
    async with httpx.AsyncClient(headers={"authorization": f"Token {word}"}) as http:
        body = json.loads(json.dumps(token.dict(), default=str))
        answer = await http.put(f"{where}/FR/EXT/RFID9", json=body)
    say(pushed=answer.json()["status_code"])


async def main():
    app = get_application(
        version_numbers=[VersionNumber.v_2_2_1], roles=[RoleEnum.emsp], crud=Crud, authenticator=Tokens,
        modules=[
            ModuleID.credentials_and_registration, ModuleID.locations, ModuleID.sessions, ModuleID.cdrs,
            ModuleID.tariffs,
        ],
    )  # fmt: skip
    config = uvicorn.Config(app, "127.0.0.1", GIVEN["port"], log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    say(ready=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await (fetch if line == "fetch\n" else push_token)()
    server.should_exit = True
    await serving


asyncio.run(main())
