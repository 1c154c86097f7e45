"""Notifications: to whom, of what, in what form; never to where a stranger may not send the node."""

import asyncio
import contextlib
from types import SimpleNamespace

import msgspec
import pytest
from openadr3_said import event, made, program

from gridspine.adapters.openadr3 import callback


@contextlib.asynccontextmanager
async def listener(status=200):
    """Yield a web server on loopback: its address, and what was posted to it (path, token, body)."""
    taken: asyncio.Queue = asyncio.Queue()
    states = [status] if isinstance(status, int) else list(status)

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}
                body = await reader.readexactly(int(fields["content-length"]))
                taken.put_nowait((head.split()[1], fields.get("authorization", ""), msgspec.json.decode(body)))
                state = states.pop(0) if len(states) > 1 else states[0]
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % state)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", taken
    finally:
        server.close()


async def next_of(taken):
    async with asyncio.timeout(60):
        return await taken.get()


def subscription(url, *objects, operations=("CREATE", "UPDATE", "DELETE"), **more):
    part = {"objects": objects, "operations": operations, "callbackUrl": f"{url}/cb", "bearerToken": "s3cret"}
    return {"clientName": "c", "objectOperations": [part], **more}


async def test_a_ven_is_told_of_what_it_may_see_in_order_with_its_token(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    of, hidden = await program(bl, "P"), await program(bl, "H", targets=["secret"])
    async with listener() as (url, taken):
        kept = await made(ven, "/subscriptions", subscription(url, "EVENT", "PROGRAM"))
        assert kept["objectOperations"][0]["bearerToken"] == "s3cret"
        assert "s3cret" not in (await bl.get("/subscriptions")).text
        await made(bl, "/events", event(hidden))
        await made(bl, "/events", event(of, targets=["nobody"]))
        one = await made(bl, "/events", event(of))
        await bl.put(f"/events/{one['id']}", json=event(of, eventName="later"))
        await bl.delete(f"/events/{one['id']}")
        told = [await next_of(taken) for _ in range(3)]
        assert [(path, token) for path, token, _ in told] == [("/cb", "Bearer s3cret")] * 3
        assert [(t["objectType"], t["operation"], t["object"]["id"]) for _, _, t in told] == [
            ("EVENT", "CREATE", one["id"]), ("EVENT", "UPDATE", one["id"]), ("EVENT", "DELETE", one["id"]),
        ]  # fmt: skip
        assert told[1][2]["object"]["eventName"] == "later"
        await bl.delete(f"/programs/{hidden['id']}")
        await bl.delete(f"/programs/{of['id']}")
        _, _, last = await next_of(taken)
        assert (last["objectType"], last["operation"], last["object"]["id"]) == ("PROGRAM", "DELETE", of["id"])
        assert taken.empty(), "nothing of what it may not see"


async def test_3_0_1_is_told_in_its_own_words_and_of_what_others_made(vtn) -> None:
    bl = await vtn.client("operator")
    old = vtn.again(bl, "3.0.1")
    native = await made(vtn.world.op, "/programmes", {"title": "N"})
    async with listener() as (url, taken):
        await made(
            old, "/subscriptions", subscription(url, "PROGRAM", programID=native["id"].removeprefix("urn:uuid:"))
        )
        answer = await vtn.world.op.put(f"/programmes/{native['id']}", json={"title": "M", "targets": ["t"]})
        assert answer.status_code == 200
        _, _, told = await next_of(taken)
        assert (told["operation"], told["object"]["programName"]) == ("PUT", "M")
        assert told["object"]["targets"] == [{"type": "GROUP", "values": ["t"]}]
        await vtn.world.op.delete(f"/programmes/{native['id']}")
        assert (await next_of(taken))[2]["operation"] == "DELETE"


async def test_who_runs_programs_is_told_of_vens_and_reports(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    one = await made(bl, "/events", event(await program(bl)))
    async with listener() as (url, taken):
        await made(bl, "/subscriptions", subscription(url, "VEN", "REPORT", operations=("CREATE",)))
        await made(ven, "/vens", {"objectType": "VEN_VEN_REQUEST", "venName": "v"})
        await made(ven, "/reports", {"eventID": one["id"], "clientName": "v", "resources": []})
        assert [(await next_of(taken))[2]["objectType"] for _ in range(2)] == ["VEN", "REPORT"]


async def test_what_is_not_taken_comes_again(vtn, monkeypatch) -> None:
    monkeypatch.setattr(callback, "back_off_s", lambda *_, **__: 0.01)
    bl = await vtn.client("operator")
    async with listener([500, 200]) as (url, taken):
        await made(bl, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        await program(bl)
        first, second = await next_of(taken), await next_of(taken)
        assert first == second


async def test_who_proves_itself_no_more_is_told_nothing(vtn) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    async with listener() as (url, taken):
        await made(ven, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        await made(bl, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        await asyncio.to_thread(vtn.world.node.identity.new_device_password, ven.id)
        assert (await ven.get("/programs")).status_code == 401
        await program(bl)
        await next_of(taken)
        await program(bl, "Q")
        assert (await next_of(taken))[2]["object"]["programName"] == "Q", "once each: to the one who still may"


@pytest.mark.parametrize("url", [
    "ftp://example.org/", "https://user:pw@example.org/", "https:///x", "https://h:0/", "nonsense", "https://a b/",
    "https://bücher.example/",
])  # fmt: skip
async def test_addresses_that_are_none_are_refused(vtn, url) -> None:
    bl = await vtn.client("operator")
    body = subscription("x", "PROGRAM")
    body["objectOperations"][0]["callbackUrl"] = url
    assert (await bl.post("/subscriptions", json=body)).status_code == 400


async def test_plain_addresses_are_refused_unless_the_settings_allow_them(tmp_path, served) -> None:
    async with served(tmp_path / "data", {"plain_callbacks": False}) as vtn:
        bl = await vtn.client("operator")
        answer = await bl.post("/subscriptions", json=subscription("http://example.org", "PROGRAM"))
        assert (answer.status_code, "https" in answer.text) == (400, True)
        await made(bl, "/subscriptions", subscription("https://example.org", "EVENT"))


async def test_of_too_many_the_oldest_go(tmp_path, served, monkeypatch) -> None:
    monkeypatch.setattr(callback, "MAX_WAITING", 2)
    async with served(tmp_path / "data", {"allow": []}) as vtn:
        bl = await vtn.client("operator")
        posted = []
        monkeypatch.setattr(callback.Callbacks, "_post", lambda self, post, client: posted.append(post) or hold.wait())
        hold = asyncio.Event()
        await made(bl, "/subscriptions", subscription("http://127.0.0.1:1", "PROGRAM", operations=("CREATE",)))
        for name in "abcde":
            await program(bl, name)
        await asyncio.sleep(0.05)
        hold.set()
        await asyncio.sleep(0.05)
        names = [msgspec.json.decode(one.body.data)["object"]["programName"] for one in posted]
        assert names[-1] == "e"
        assert len(names) <= 4


async def test_what_waits_has_so_many_bytes_and_what_many_are_told_counts_once(vtn, monkeypatch) -> None:
    monkeypatch.setattr(callback, "MAX_BYTES", 3_000)
    bl, hold = await vtn.client("operator"), asyncio.Event()
    made_of = []
    posting = lambda self, post, client: made_of.append((self, post)) or hold.wait()  # noqa: E731
    monkeypatch.setattr(callback.Callbacks, "_post", posting)
    for _ in range(4):
        await made(bl, "/subscriptions", subscription("http://127.0.0.1:1", "PROGRAM", operations=("CREATE",)))
    for name in "abcdefghij":
        await program(bl, name, attributes=[{"type": "T", "values": ["x" * 900]}])
    await asyncio.sleep(0.05)
    callbacks = made_of[0][0]
    assert 0 < callbacks._bytes <= 3_000 + 2_000, "one at most beyond it: what is being posted"
    assert callbacks.counts["lost"] > 0
    hold.set()
    async with asyncio.timeout(40):
        while callbacks._waiting:
            await asyncio.sleep(0.01)
    assert callbacks._bytes == 0
    assert msgspec.json.decode(made_of[-1][1].body.data)["object"]["programName"] == "j"


async def test_receivers_that_take_nothing_take_only_their_own_organisations_room(monkeypatch) -> None:
    async def stuck(self, of, queue, client):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(callback.Callbacks, "_work", stuck)
    monkeypatch.setattr(callback, "MAX_BYTES", 1_000)
    callbacks = callback.Callbacks(SimpleNamespace(told=[]), None, None)
    async with asyncio.TaskGroup() as group:

        def offer(id_, organisation, data):
            post = callback._Post(organisation, "https://x.example", "", callback._Body(data))
            callbacks._offer(SimpleNamespace(id=id_, organisation=organisation), post, group, None)

        def waiting(id_):
            return [post.body.data[:1] for post in callbacks._waiting[id_]]

        offer("other", "two", b"y" * 400)
        for number in range(40):
            offer(f"slow-{number % 3}", "one", b"%d" % (number % 10) + b"x" * 99)
        assert waiting("other") == [b"y"]
        assert sorted(data for one in range(3) for data in waiting(f"slow-{one}")) == [
            b"%d" % one for one in range(4, 10)
        ]
        offer("other", "two", b"z" * 100)
        assert waiting("other") == [b"y", b"z"], "up to its half it takes room from whoever has more"
        assert (callbacks._bytes, dict(callbacks._bytes_of)) == (1_000, {"one": 500, "two": 500})
        for queue in callbacks._waiting.values():
            while queue:
                callbacks._lose(queue)
        assert (callbacks._bytes, callbacks._bytes_of) == (0, {})
        for task in group._tasks:
            task.cancel()


async def test_a_change_that_cannot_be_told_keeps_no_other_from_being_told(vtn, monkeypatch) -> None:
    wanting, failed = callback.wanting, asyncio.Event()

    def once(vtn, record, operation):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("one change")
        return wanting(vtn, record, operation)

    bl = await vtn.client("operator")
    async with listener() as (url, taken):
        await made(bl, "/subscriptions", subscription(url, "PROGRAM"))
        monkeypatch.setattr(callback, "wanting", once)
        await program(bl, "First")
        await asyncio.wait_for(failed.wait(), 60)
        await program(bl, "Second")
        assert (await next_of(taken))[2]["object"]["programName"] == "Second"


async def test_the_machine_itself_is_not_posted_to_unless_allowed(tmp_path, served, monkeypatch) -> None:
    monkeypatch.setattr(callback, "back_off_s", lambda *_, **__: 0.0)
    async with served(tmp_path / "data", {"allow": []}) as vtn, listener() as (url, taken):
        bl = await vtn.client("operator")
        await made(bl, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        lost = asyncio.Event()
        monkeypatch.setattr(callback._LOG, "warning", lambda *_: lost.set())
        await program(bl)
        async with asyncio.timeout(40):
            await lost.wait()
        assert taken.empty()


async def test_a_token_that_no_header_can_hold_is_refused(vtn) -> None:
    ven = await vtn.client("owner")
    body = subscription("https://example.org", "PROGRAM")
    body["objectOperations"][0]["bearerToken"] = "schlüssel"
    assert (await ven.post("/subscriptions", json=body)).status_code == 400


async def test_what_one_subscription_breaks_ends_no_other(vtn, monkeypatch) -> None:
    bl, ven = await vtn.client("operator"), await vtn.client("owner")
    posted = callback.Callbacks._post

    async def post(self, what, client):
        if what.url.endswith("/bad/cb"):
            raise UnicodeEncodeError("ascii", "ü", 0, 1, "as a library below may raise")
        await posted(self, what, client)

    monkeypatch.setattr(callback.Callbacks, "_post", post)
    async with listener() as (url, taken):
        await made(ven, "/subscriptions", subscription(f"{url}/bad", "PROGRAM", operations=("CREATE",)))
        await made(bl, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        for name in ("P", "Q"):
            await program(bl, name)
            assert (await next_of(taken))[2]["object"]["programName"] == name


async def test_a_narrowed_client_is_told_no_more_than_it_sees(vtn) -> None:
    bl = await vtn.client("operator")
    narrow = await vtn.client("operator", "owner", scope="read_targets write_subscriptions")
    async with listener() as (url, taken):
        await made(narrow, "/subscriptions", subscription(url, "PROGRAM", operations=("CREATE",)))
        hidden = await program(bl, "hidden", targets=["others"])
        assert (await narrow.get(f"/programs/{hidden['id']}")).status_code == 404
        await program(bl, "open")
        assert (await next_of(taken))[2]["object"]["programName"] == "open"
