"""From whom to whom: partners whose platform has several parties, and who may ask for what."""

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest
from ocpi_operator import CHARGER, PLACE, A, B, World

from gridspine.adapters.ocpi.book import Kept, Partner, hash_of
from gridspine.adapters.ocpi.call import Reply
from gridspine.adapters.ocpi.client import PartnerError
from gridspine.adapters.ocpi.cpo_commands import CpoCommands
from gridspine.adapters.ocpi.cpo_tariffs import CpoTariffs
from gridspine.adapters.ocpi.credentials import CredentialsRole, Endpoint
from gridspine.adapters.ocpi.emsp import Emsp
from gridspine.adapters.ocpi.session import App
from gridspine.adapters.ocpi.things import EvseConnection
from gridspine.adapters.ocpi.wire import OcpiError, Party, path_of
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.kernel.errors import Conflict

TARIFF = {
    "id": "T",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}],
}
MODULES = ("locations", "sessions", "cdrs", "tariffs")


def roles(role, *parties):
    return tuple(CredentialsRole(role, BusinessDetails(one), one, "DE") for one in parties)


class Asked:
    """Takes what partners are asked, in place of the client."""

    def __init__(self, answer=None):
        self.said, self.answer = [], answer

    async def call(self, method, url, token, body=None, *, to=None):
        self.said.append((method, url, str(to)))
        return self.answer

    async def pages(self, url, token, *, to=None):
        self.said.append(("GET", url, str(to)))
        yield []

    def to(self, part):
        return [to for _, url, to in self.said if part in url]


async def platform(role="EMSP", **section):
    """An operator, and a partner that is the platform of DE AAA and DE AAB."""
    world = World(**{"tariffs": [TARIFF], **section})
    await world.begin()
    side = "RECEIVER" if role == "EMSP" else "SENDER"
    places = tuple(Endpoint(one, side, f"http://x/{one}") for one in MODULES)
    made = msgspec.structs.replace(
        world.roaming.book.partner(A), roles=roles(role, "AAA", "AAB", "AAA"),
        endpoints=(*places, Endpoint("tokens", "SENDER", "http://x/tokens"),
                   Endpoint("commands", "RECEIVER", "http://x/commands")),
    )  # fmt: skip
    await world.roaming.book.keep(made)
    world.roaming.client = Asked()
    return world


async def pushed(world):
    """Push all that waits."""
    run = asyncio.create_task(world.pushes.run())
    async with asyncio.timeout(40):
        while world.pushes._waiting:
            await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    return world.roaming.client


async def test_a_session_and_its_record_are_for_the_party_whose_driver_it_is() -> None:
    world = await platform()
    world.push(A, "U1", "AAB")
    await world.tokens.on_token(CHARGER, "U1", "")
    await world.sessions.on_session(world.end(await world.charge("U1")))
    client = await pushed(world)
    assert (client.to("/sessions/"), client.to("/cdrs")) == (["DE AAB"], ["DE AAB"])
    assert world.kept("own-cdrs")[0]["told"] is True


async def test_of_a_platform_each_party_has_its_own_drivers_sessions_only() -> None:
    world = await platform()
    world.later.check = lambda call, url: None
    commands = CpoCommands(world.roaming, world.later, world.locations, world.tokens, world.sessions)
    world.push(A, "U1", "AAB")
    await world.tokens.on_token(CHARGER, "U1", "")
    session = await world.charge("U1")
    (id_,) = [one["id"] for one in world.kept("own-sessions")]

    def call(party, *rest, body=None, **query):
        sender = party and Party("de", party)
        return replace(world.call(), sender=sender, rest=rest, query=query, body=json.dumps(body).encode())

    async def answered(handler, *given, **more):
        return (await handler(call(*given, **more))).data

    stop = {"response_url": "http://x/", "session_id": id_}
    assert (await answered(commands.handlers["POST"], "AAA", "STOP_SESSION", body=stop)).result == "UNKNOWN_SESSION"
    assert (await answered(commands.handlers["POST"], "AAB", "STOP_SESSION", body=stop)).result == "NOT_SUPPORTED"
    profile = world.profiles.handlers["GET"]
    assert (await answered(profile, "AAA", id_, duration="60")).result == "UNKNOWN_SESSION"
    assert (await answered(profile, "AAB", id_, duration="60")).result == "ACCEPTED"
    preferences = world.sessions.handlers["PUT"]
    with pytest.raises(OcpiError):
        await answered(preferences, "AAA", id_, "charging_preferences")
    assert await answered(preferences, "AAB", id_, "charging_preferences") == "NOT_POSSIBLE"
    await world.sessions.on_session(world.end(session))
    for module in (world.sessions, world.cdrs):
        get = module.handlers["GET"]
        assert await answered(get, "AAA") == []
        assert not world.kept("own-cdrs")[0].get("told"), "nobody took it yet"
        assert (await get(call("AAA"))).headers[0] == ("x-total-count", "0")
        assert [len(await answered(get, party)) for party in ("aab", None)] == [1, 1]
    assert world.kept("own-cdrs")[0]["told"] is True


async def test_a_driver_of_a_party_that_went_is_the_first_ones() -> None:
    world = await platform()
    world.push(A, "U1", "AAB")
    await world.tokens.on_token(CHARGER, "U1", "")
    await world.charge("U1")
    partner = msgspec.structs.replace(world.roaming.book.partner(A), roles=roles("EMSP", "AAA", "AAC"))
    await world.roaming.book.keep(partner)
    get = world.sessions.handlers["GET"]
    found = [(await get(replace(world.call(), sender=Party("DE", party)))).data for party in ("AAA", "AAC")]
    assert [len(one) for one in found] == [1, 0]


async def test_a_token_is_asked_for_at_its_own_party() -> None:
    world = await platform()
    token = world.push(A, "U/1", "AAB", whitelist="NEVER")
    world.roaming.client.answer = {"allowed": "ALLOWED", "token": msgspec.to_builtins(token)}
    assert (await world.tokens.on_token(CHARGER, "U/1", "")).status == "Accepted"
    assert world.roaming.client.said == [("POST", "http://x/tokens/U%2F1/authorize?type=RFID", "DE AAB")]


async def test_what_is_for_everybody_is_told_to_each_party_once() -> None:
    world = await platform()
    partner = world.roaming.book.partner(A)
    world.locations._tell(partner, await world.locations._look(partner))
    CpoTariffs(world.roaming, world.bill).tell(world.pushes)
    client = await pushed(world)
    for module in ("locations", "tariffs"):
        assert client.to(f"/{module}/") == ["DE AAA", "DE AAB"], module


async def test_an_operators_platform_is_asked_for_each_party_and_told_whose_place_it_is() -> None:
    world = await platform("CPO")
    emsp = Emsp(world.roaming, world.pushes)
    await emsp.pull(A, None)
    for module in MODULES:
        assert world.roaming.client.to(f"/{module}") == ["DE AAA", "DE AAB"], module
    world.roaming.things.evses["urn:e"] = EvseConnection(A, "L1", "E1")
    body = {"id": "L1", "evses": [{"uid": "E1", "connectors": [{"id": "7"}]}]}
    await world.roaming.book.keep_object((A, "locations", "DE", "AAB"), Kept("L1", body, 1))
    world.roaming.client.answer = {"result": "REJECTED", "timeout": 1}
    with pytest.raises(Exception, match="REJECTED"):
        await emsp.actions["unlock"]("urn:e", {})
    assert world.roaming.client.to("/commands/") == ["DE AAB"]


async def test_what_one_party_does_not_give_keeps_nothing_of_the_others_away() -> None:
    world = await platform("CPO", tariffs=[])
    asked = []

    async def pages(url, token, *, to=None):
        asked.append((url.rpartition("/")[2], to.party_id))
        if to.party_id == "AAA":
            raise PartnerError(f"{asked[-1][0]}: the partner answers 2001", 2001)
        part = {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}
        tariff = TARIFF | {"country_code": "DE", "party_id": "AAB", "elements": [part]}
        yield [tariff | {"last_updated": "2026-01-01T00:00:00Z"}] if url.endswith("tariffs") else []

    world.roaming.client.pages = pages
    with pytest.raises(PartnerError, match="locations: the partner answers 2001"):
        await Emsp(world.roaming, world.pushes).pull(A, None)
    assert sorted(asked) == sorted((module, party) for module in MODULES for party in ("AAA", "AAB"))
    assert [one["id"] for one in world.kept("tariffs")] == ["T"]


async def test_of_an_operator_that_leaves_and_fails_nothing_more_is_asked() -> None:
    world = await platform("CPO")
    asked = []

    async def pages(url, token, *, to=None):
        asked.append(url)
        await world.roaming.book.keep(Partner(A))
        raise PartnerError("HTTP 401")
        yield []

    world.roaming.client.pages = pages
    with pytest.raises(Conflict, match="left, while it was fetched"):
        await Emsp(world.roaming, world.pushes).pull(A, None)
    assert len(asked) == 1


async def test_of_an_operator_that_leaves_nothing_more_is_kept() -> None:
    world = await platform("CPO")

    async def pages(url, token, *, to=None):
        await world.roaming.book.keep(Partner(A))
        yield [{}]

    world.roaming.client.pages = pages
    with pytest.raises(Conflict, match="left, while it was fetched"):
        await Emsp(world.roaming, world.pushes).pull(A, None)


async def test_an_operator_that_takes_its_time_keeps_no_other_waiting() -> None:
    world = await platform("CPO")
    await world.roaming.book.keep(msgspec.structs.replace(world.roaming.book.partner(B), roles=roles("CPO", "BBB")))
    emsp, fetched = Emsp(world.roaming, world.pushes), asyncio.Event()

    async def pull(thing, given):
        if thing == B:
            fetched.set()
        else:
            await asyncio.Event().wait()

    emsp.pull = pull
    run = asyncio.create_task(emsp._fetch())
    try:
        async with asyncio.timeout(40):
            await fetched.wait()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


# -- what is asked of us -------------------------------------------------------------------------------------------


async def asked(world, path, *, method="GET", **headers):
    """Ask as the partner A, and return HTTP's status, the envelope and the headers."""
    heard, sent = [], []

    async def handler(call):
        heard.append(call.rest)
        return Reply("yes")

    modules = {
        (side, module): {"GET": handler} for side in ("sender", "receiver")
        for module in (*MODULES, "tokens", "commands")
    }  # fmt: skip
    roaming = world.roaming
    app = App(world.node, roaming.settings, roaming.book, roaming.registration, modules, roaming.here)
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": plain.replace("%2F", "/"), "raw_path": plain.encode(),
        "query_string": query.encode(), "headers": [(b"authorization", b"Token theirs"), *given],
    }  # fmt: skip
    await app(scope, receive, send)
    back = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return json.loads(sent[1]["body"])["status_code"], back, heard


async def registered(role="EMSP"):
    world = await platform(role)
    await world.roaming.book.keep(msgspec.structs.replace(world.roaming.book.partner(A), shown=hash_of("theirs")))
    return world


async def test_an_answer_is_from_us_to_who_asked_also_where_it_is_an_error() -> None:
    world = await registered()
    sender = {"ocpi_from_country_code": "de", "ocpi_from_party_id": "AAB"}
    here = {"ocpi_to_country_code": "nl", "ocpi_to_party_id": "cpo"}
    away = {"ocpi_to_country_code": "NL", "ocpi_to_party_id": "AWY"}
    url = "/ocpi/2.2.1/sender/locations"
    for more, wanted in ((here, 1000), ({}, 1000), (away, 2001)):
        code, back, heard = await asked(world, url, **sender, **more)
        assert (code, bool(heard)) == (wanted, wanted == 1000)
        assert [back[f"ocpi-{side}-party-id"] for side in ("to", "from")] == ["AAB", "CPO"]
        assert [back[f"ocpi-{side}-country-code"] for side in ("to", "from")] == ["de", "NL"]
    code, back, _ = await asked(world, "/ocpi/2.2.1/sender/nothing", **sender)
    assert (code, back["ocpi-to-party-id"]) == (2000, "AAB")
    code, back, _ = await asked(world, url)
    assert (code, [name for name in back if name.startswith("ocpi-")]) == (1000, []), "one party on either side"
    code, back, _ = await asked(world, "/ocpi/2.2.1", **sender, **away)
    assert (code, [name for name in back if name.startswith("ocpi-")]) == (1000, []), "versions are not routed"
    code, back, heard = await asked(world, url, ocpi_from_country_code="DE", ocpi_from_party_id="XYZ")
    assert (code, heard, "ocpi-to-party-id" in back) == (2001, [], False)


@pytest.mark.parametrize(("path", "needed"), [
    ("sender/tokens", "CPO"), ("receiver/locations/DE/AAA/L", "CPO"), ("receiver/sessions/DE/AAA/S", "CPO"),
    ("receiver/tariffs/DE/AAA/T", "CPO"), ("receiver/cdrs", "CPO"), ("receiver/tokens/DE/AAA/U", "EMSP"),
    ("receiver/commands/START_SESSION", "EMSP"),
])  # fmt: skip
async def test_what_is_for_one_role_is_had_by_no_other(path, needed) -> None:
    """Tokens of drivers by who runs charge points, say, and not by another provider."""
    for role in ("CPO", "EMSP", "NSP", "HUB"):
        code, _, heard = await asked(await registered(role), f"/ocpi/2.2.1/{path}")
        assert (code, bool(heard)) == ((1000, True) if role in {needed, "HUB"} else (2000, False)), role


@pytest.mark.parametrize("id_", ["A/B", "a b", "50%2F", "#1?", "ä"])
async def test_an_id_is_one_part_of_an_address_whatever_is_in_it(id_) -> None:
    world = await registered()
    path = f"/ocpi/2.2.1/sender/locations{path_of('NL', id_)}"
    assert (await asked(world, path))[2] == [("NL", id_)]
    place = PLACE | {"id": "H?1", "evses": [{"thing": CHARGER, "uid": "E#1"}]}
    world = await platform(locations=[place])
    partner = world.roaming.book.partner(A)
    for _ in range(2):
        world.locations._tell(partner, await world.locations._look(partner))
        world.locations._seen.clear()
        world.locations._told = {A: (partner.since_us, {})}
    assert {url for _, url, _ in (await pushed(world)).said} == {
        "http://x/locations/NL/CPO/H%3F1", "http://x/locations/NL/CPO/H%3F1/E%231"
    }  # fmt: skip
