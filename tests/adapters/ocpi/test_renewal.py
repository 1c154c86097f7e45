"""New tokens whose answer is lost: nobody knows which one the partner has, and it is let in by either."""

import asyncio
import json

import msgspec
import pytest
from ocpi_operator import A, World

from gridspine.adapters.ocpi.book import MAX_FORMER, hash_of
from gridspine.adapters.ocpi.call import Reply
from gridspine.adapters.ocpi.client import PartnerError
from gridspine.adapters.ocpi.credentials import Credentials, CredentialsRole
from gridspine.adapters.ocpi.session import App
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.kernel.errors import Invalid, Unavailable

ROLE = CredentialsRole("EMSP", BusinessDetails("AAA"), "AAA", "DE")
THEIRS = Credentials("theirs", "http://x/", (ROLE,))
REFUSED = [
    PartnerError("no", 2001, 200), PartnerError("no", 2000, 405), PartnerError("gone", 0, 404), Invalid("not sent"),
]  # fmt: skip
LOST = [Unavailable("no answer"), PartnerError("failed", 3000, 500), PartnerError("no OCPI", 0, 200), None]


class Asked:
    """A partner that takes our token; then ``problem`` comes in place of its answer (None: it never comes)."""

    def __init__(self, problem=None):
        self.problem, self.given = problem, asyncio.Queue()

    def check(self, url):
        pass

    async def call(self, method, url, token, body=None, *, to=None):
        if url == "http://x/":
            return [{"version": "2.2.1", "url": "http://x/2.2.1"}]
        if url == "http://x/2.2.1":
            one = {"identifier": "credentials", "role": "RECEIVER", "url": "http://x/credentials"}
            return {"version": "2.2.1", "endpoints": [one]}
        self.given.put_nowait(body.token)
        if self.problem is None:
            await asyncio.Event().wait()
        raise self.problem


async def partners(problem=None):
    """A world whose partner shows the token *old*."""
    world = await World(url="http://us").begin()
    await world.roaming.book.keep(msgspec.structs.replace(world.roaming.book.partner(A), shown=hash_of("old")))
    world.roaming.registration._client = Asked(problem)
    return world


async def renewed(world):
    """Renew, and return the token that the partner was given."""
    asked = world.roaming.registration._client
    task = asyncio.create_task(world.roaming.registration.renew(A))
    given = await asked.given.get()
    if asked.problem is None:
        task.cancel()
    (found,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(found, type(asked.problem or asyncio.CancelledError()))
    return given


async def lets_in(world, token, path="/ocpi/2.2.1/sender/locations"):
    """Whether a request with a token is carried out."""
    sent = []

    async def handler(call):
        return Reply("yes")

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    roaming = world.roaming
    modules = {("sender", "locations"): {"GET": handler}}
    app = App(world.node, roaming.settings, roaming.book, roaming.registration, modules, roaming.here)
    headers = [(b"authorization", f"Token {token}".encode())]
    await app({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}, receive, send)
    return json.loads(sent[1]["body"])["status_code"] == 1000


@pytest.mark.parametrize("problem", LOST)
async def test_where_an_answer_is_lost_both_tokens_count_until_the_new_one_is_used(problem) -> None:
    world = await partners(problem)
    new = await renewed(world)
    again = World(store=world.store, clock=world.clock, url="http://us")
    await again.roaming.book.load()
    assert again.roaming.book.partner(A) == world.roaming.book.partner(A), "also after a restart"
    assert "its answer to new tokens did not come" in again.roaming.book.partner(A).problem
    assert await lets_in(again, new, "/ocpi/versions"), "it looks at us before it takes a token, or not"
    assert await lets_in(again, "old")
    async with again.roaming.registration._turns[A]:
        assert await lets_in(again, new), "while we renew again"
    assert await lets_in(again, "old")
    assert await lets_in(again, new)
    assert [await lets_in(again, token) for token in (new, "old")] == [True, False]


@pytest.mark.parametrize("problem", REFUSED)
async def test_a_token_that_was_refused_counts_nothing(problem) -> None:
    world = await partners(problem)
    before = world.roaming.book.partner(A)
    new = await renewed(world)
    assert world.roaming.book.partner(A) == before
    assert [await lets_in(world, token) for token in (new, "old")] == [False, True]


async def test_a_registration_that_is_not_answered_lets_nobody_in() -> None:
    world = await partners(Unavailable("no answer"))
    await world.roaming.registration.leave(world.roaming.book.partner(A))
    with pytest.raises(Unavailable):
        await world.roaming.registration.register(A, "http://x/", "a")
    assert world.roaming.book.by_token((world.roaming.registration._client.given.get_nowait(),)) is None


async def test_what_was_under_way_when_the_node_stopped_may_have_been_taken() -> None:
    world = await partners()
    await world.roaming.book.keep(msgspec.structs.replace(world.roaming.book.partner(A), pending=hash_of("new")))
    again = World(store=world.store, clock=world.clock, url="http://us")
    await again.roaming.book.load()
    assert not await lets_in(again, "new")
    await again.roaming.registration.load()
    assert "renew again" in again.roaming.book.partner(A).problem
    assert [await lets_in(again, token) for token in ("old", "new", "old")] == [True, True, False]


async def test_who_renews_at_us_and_hears_no_answer_is_let_in_as_before() -> None:
    world = await partners()
    registration, book = world.roaming.registration, world.roaming.book
    first, second = [
        (await registration.take(book.partner(A), "2.2.1", THEIRS, again=True)).token for _ in range(2)
    ]  # fmt: skip
    assert [await lets_in(world, token) for token in ("old", "old", first, "old")] == [True, True, True, False]
    assert [await lets_in(world, token) for token in (second, first)] == [True, False]
    await registration.leave(book.partner(A))
    assert not await lets_in(world, second)


async def test_of_many_tokens_that_were_lost_some_count_and_the_one_that_the_partner_had() -> None:
    world = await partners(Unavailable("no answer"))
    new = [await renewed(world) for _ in range(MAX_FORMER + 3)]
    counts = [token for token in ("old", *new) if world.roaming.book.by_token((token,))]
    assert counts == ["old", *new[-MAX_FORMER:]]
    assert await lets_in(world, "old")
    assert await lets_in(world, new[-2])
    assert [token for token in ("old", *new) if world.roaming.book.by_token((token,))] == new[-2:]
