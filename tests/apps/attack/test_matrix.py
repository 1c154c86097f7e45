"""The authorisation matrix: every endpoint x role x organisation x state of the token, by real requests.

What should come out stands in the table beside this file. Who is let in gets an answer that is no refusal; everybody
else gets the stated status, nothing of the own organisation's, and the same answer whether or not the thing exists.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from litestar.routes import HTTPRoute, WebSocketRoute
from matrix_requests import BATTERY_ID, METER_ID, TITLE, VALUE, Scene, Sent
from matrix_table import ORGANISATIONS, PUBLIC, ROLES, Row, rows
from matrix_tokens import STATES, Keyed
from running_node import World, settings_for
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gridspine.apps.api.app import framework
from gridspine.infra.runtime.settings import Adapters, Commands

pytestmark = pytest.mark.asyncio(loop_scope="module")
DATA = os.environ.get("GRIDSPINE_SECURITY_DATA", "")
"""Where the counts go: set by ``make security``."""
DECISION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


STREAMS = ("/edge/orders", "/stream", "/observe", "/events", "/events/{name}", "/events/{kind}")
"""Ends of paths that answer with a stream: it is enough that it opens."""


class Answer:
    """What came back: status, header names and values that may not tell, and the body."""

    def __init__(self, status: int, headers: Any, body: str) -> None:
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers.items()}, body

    def shape(self, *names: str) -> tuple[Any, ...]:
        """Return all that a stranger could compare, without what names the request itself."""
        text = DECISION.sub("…", self.body)
        for name in names:
            text = text.replace(name, "…")
        headers = {k: v for k, v in self.headers.items() if k not in {"date", "traceparent"}}
        return self.status, text, headers


class Matrix:
    """A node, its scene, and one principal for each role in each organisation, with tokens in every state."""

    def __init__(self, world: World, scene: Scene) -> None:
        self.world, self.scene = world, scene
        self.http = httpx.AsyncClient(base_url=world.url, timeout=60)
        self.people = {
            (organisation, role): Keyed(world.node, world.url, id_, name)
            for organisation, id_ in ORGANISATIONS.items()
            for role, name in ROLES.items()
        }
        self.counts: dict[str, int] = {}

    async def ask(self, row: Row, sent: Sent, who: Keyed, state: str) -> Answer:
        """Send one request as ``who`` with a token in ``state``."""
        self.counts[state] = self.counts.get(state, 0) + 1
        method = "GET" if row.method == "WS" else row.method
        headers = who.headers(state, method, sent.path)
        if state == "replayed-proof":
            url = f"{self.world.url}{sent.path}"
            self.world.node.identity.proofs.check(headers["dpop"], method=method, url=url, owner=who.id)
        if row.method == "WS":
            return await self._socket(sent, headers)
        headers |= sent.headers
        body: Any = {"content": sent.json} if isinstance(sent.json, str) else {"json": sent.json}
        async with self.http.stream(method, sent.path, params=sent.params, headers=headers, **body) as answer:
            if answer.status_code == 200 and row.path.endswith(STREAMS):
                return Answer(200, answer.headers, "")
            await answer.aread()
            return Answer(answer.status_code, answer.headers, answer.text)

    async def _socket(self, sent: Sent, headers: dict[str, str]) -> Answer:
        url = httpx.URL(self.world.url.replace("http", "ws") + sent.path, params=sent.params)
        try:
            async with connect(str(url), additional_headers=headers):
                return Answer(200, {}, "")
        except InvalidStatus as error:
            body = (error.response.body or b"").decode()
            return Answer(error.response.status_code, dict(error.response.headers.raw_items()), body)


LARGE = Commands(approval_above_w=2_000, approval_window_s=0.001)
"""A single order of more than 2 kW takes two persons."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(tmp_path_factory):
    world = await World.start(
        tmp_path_factory.mktemp("matrix") / "data",
        settings_for(archive=True, commands=LARGE, adapters=Adapters(allow=["modbus"])),
    )
    scene = Scene(world)
    await scene.set()
    made = Matrix(world, scene)
    world.clients.append(made.http)
    speaker = made.people["own", "d"].id
    assert speaker
    yield made
    await world.stop()


def names_of(app: Any) -> set[str]:
    """Return every endpoint of the API as ``METHOD /path``, without the portal's."""
    found = set()
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found |= {f"{method} {route.path_format}" for method in route.methods if method not in {"OPTIONS", "HEAD"}}
        elif isinstance(route, WebSocketRoute):
            found.add(f"WS {route.path_format}")
    return found


async def test_the_table_has_every_endpoint(matrix) -> None:
    verbs = r"(?<!\{certificate\})(?<!\{voucher_id\})/(approve|refuse|revoke|suspend|resume|note|close|reject)$"
    stated = {re.sub(verbs, "/{verb}", row.name) for row in rows()}
    walked = names_of(framework(matrix.world.node))
    assert walked - set(PUBLIC) - stated == set(), "state in the table who may"
    assert stated - walked == set(), "there is no such endpoint"
    assert set(PUBLIC) - walked == set()


def secrets_of(matrix: Matrix) -> tuple[str, ...]:
    return TITLE, str(VALUE), METER_ID + "/", BATTERY_ID + "/", matrix.world.op_id


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
async def test_each_role_of_each_organisation(matrix, row) -> None:
    """With a good token: let in, or refused as stated, with nothing told."""
    scene, done = matrix.scene, 0
    for (organisation, role), who in matrix.people.items():
        let_in = row.lets_in(organisation, role)
        ids = await scene.fresh(row.path) if let_in else scene.ids
        answer = await matrix.ask(row, scene.request(row.method, row.path, ids), who, "valid")
        cell = (row.name, organisation, ROLES[role], answer.status, answer.body[:300])
        if let_in:
            done += 200 <= answer.status < 300
            # The device speaks for nothing here; an order, an alarm or a quarantine may not be there to act on.
            assert answer.status < 400 or answer.status in {409} or cell[0] in EMPTY_HANDED, cell
            continue
        assert answer.status == row.refusal(organisation, role), cell
        for secret in secrets_of(matrix):
            assert secret not in answer.body, cell
        if row.method == "WS":  # it is refused before there is anything to say it in
            continue
        assert answer.headers["content-type"] == "application/problem+json", cell
        if answer.status == 403:
            assert "decision" in json.loads(answer.body), cell
    if row.path == "/all-stop":
        await matrix.world.op.post("/all-stop?release=true", json={"reason": "the matrix goes on"})
    assert done or row.name in EMPTY_HANDED, "nobody was let in: the table proves nothing here"


EMPTY_HANDED = {
    # Nobody charges here; who is let in where somebody does, tests/apps/node/test_charging.py shows.
    "GET /things/{thing_id}/transactions",
    "GET /things/{thing_id}/transactions/{transaction_id}/signed-values",
    "POST /readings",
    "POST /quarantine/release",
    "GET /grants",
    "POST /grants",
    "POST /products",
    "POST /alarms/acknowledge",
    "POST /behaviours",
}
"""Rows in which one who is let in may find nothing to do: no alarm, no quarantine, no Thing it speaks for."""


@pytest.mark.parametrize(
    "row",
    [row for row in rows() if "{" in row.path or row.path in {"/commands", "/commands/batch", "/receipts", "/grants"}],
    ids=lambda row: row.name,
)
async def test_what_is_forbidden_and_what_is_not_there_are_answered_alike(matrix, row) -> None:
    """By status, body, header and length, for everyone outside who is not let in."""
    known = matrix.scene.ids
    unknown = {name: _unlike(value) for name, value in known.items() if name != "key"} | {"key": known["key"]}
    for (organisation, role), who in matrix.people.items():
        if organisation == "own" or row.lets_in(organisation, role) or organisation in KNOWS.get(row.path, ()):
            continue
        if organisation in KNOWS.get(row.name, ()):
            continue
        answers = []
        for ids in (known, unknown):
            if row.path in {"/commands", "/commands/batch"}:
                ids = ids | {"other_thing": BATTERY_ID if ids is known else _unlike(BATTERY_ID)}
            answers.append(await matrix.ask(row, matrix.scene.request(row.method, row.path, ids), who, "valid"))
        shapes = [
            answer.shape(*(value for value in (*ids.values(),) if len(value) > 12))
            for answer, ids in zip(answers, (known, unknown), strict=True)
        ]
        assert shapes[0] == shapes[1], (row.name, organisation, ROLES[role])


KNOWS = {
    **{row.path: ("granted",) for row in rows() if "{grant_id}" in row.path},
    **{row.path: ("granted", "other") for row in rows() if "{product_id}" in row.path},
    "/grants": ("granted", "other"),
    "PUT /things/{thing_id}": ("granted", "other"),
    "/receipts/{event_id}": ("granted",),
    "/receipts": ("granted",),
}
"""Who knows that it exists anyhow: the two sides of a grant; and of products, which are listed to all, everyone.

Whoever registers a Thing under an id of its choice finds out that the id is taken.
"""


def _unlike(id_: str) -> str:
    """Return an id of the same form and length that nothing has."""
    return id_[:-1] + ("7" if id_[-1] != "7" else "8") if len(id_) > 4 else id_


def someone(row: Row) -> list[tuple[str, str]]:
    """Return who has most to win: one role of each organisation, one that is let in where there is one."""
    return [(organisation, (row.may[organisation] or "a")[0]) for organisation in ORGANISATIONS]


async def refuse_all(matrix: Matrix, row: Row, people: list[tuple[str, str]]) -> None:
    """Try every bad token for ``people`` on one endpoint; each is a 401, and alike for all who show it."""
    sent = matrix.scene.request(row.method, row.path, matrix.scene.ids)
    for state, status in STATES.items():
        if not status:
            continue
        shapes = set()
        for person in people:
            who = matrix.people[person]
            answer = await matrix.ask(row, sent, who, state)
            cell = (row.name, *person, state, answer.status, answer.body[:300])
            # A WebSocket is refused before it is one: all there is to say is 403.
            assert answer.status == (403 if row.method == "WS" else status), cell
            for secret in secrets_of(matrix):
                assert secret not in answer.body, cell
            shapes.add(answer.shape(who.id)[:2])
        assert len(shapes) == 1, (row.name, state, shapes)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
async def test_no_bad_token_opens_anything(matrix, row) -> None:
    await refuse_all(matrix, row, someone(row))


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
async def test_no_bad_token_of_anybody_opens_anything(matrix, row) -> None:
    await refuse_all(matrix, row, list(matrix.people))


async def test_nothing_was_changed_by_those_who_may_not(matrix) -> None:
    """After all that: what stood there stands."""
    world, scene = matrix.world, matrix.scene
    assert (await world.op.get(f"/things/{METER_ID}")).json()["title"] == TITLE
    assert (await world.op.get(f"/grants/{scene.grant}")).json()["state"] == "active"
    assert world.node.identity.directory.active(scene.ids["principal_id"]) is not None
    value = (await world.op.get(f"/things/{METER_ID}/properties/activeEnergyImport")).json()
    assert str(VALUE) in json.dumps(value)


async def test_the_counts_are_written(matrix, request) -> None:
    """Last: for the page, where it is asked for; a run in which any cell came out wrong has nothing to say there."""
    assert matrix.counts
    assert not request.session.testsfailed
    if DATA:
        cells = {
            "endpoints": len(rows()),
            "public": len(PUBLIC),
            "roles": len(ROLES),
            "organisations": len(ORGANISATIONS),
        }
        found = cells | {"states": len(STATES), "requests": dict(sorted(matrix.counts.items())), "leaks": 0}
        Path(DATA).mkdir(parents=True, exist_ok=True)
        (Path(DATA) / "security-matrix.json").write_text(json.dumps(found, indent=1) + "\n")
