"""A node that is the aggregator of many EndDevices at another's utility server."""

import asyncio

import pytest
from csip_home import LINK_MODEL, Home
from csip_utility import METER, until

MANY = 40
"""EndDevices, with three programs each."""


async def gathered(*waiting):
    """Await all, a few at a time."""
    slots = asyncio.Semaphore(8)

    async def one(work):
        async with slots:
            return await work

    return await asyncio.gather(*(one(work) for work in waiting))


async def made(http, path, body):
    answer = await http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def behind(utility, home):
    """Let the utility know the home as an aggregator of many devices, all in three programmes; return those."""
    principal = await utility.known(home.issued)
    await utility.thing(principal, home.issued.lfdi, name="urn:example:aggregator", role="aggregator", pin=0)
    things = await gathered(*(
        utility.thing(principal, f"{at:040X}", name=f"urn:example:der-{at}", aggregator=home.issued.lfdi)
        for at in range(1, MANY + 1)
    ))  # fmt: skip
    programmes = [
        await made(utility.world.op, "/programmes", {
            "title": title, "modes": [mode], "primacy": primacy, "defaultControl": {mode: default},
        })
        for title, mode, primacy, default in (
            ("Emergency", "generationLimitW", 1, 9000), ("Peaks", "exportLimitW", 5, 5000),
            ("Usual", "importLimitW", 9, 7000),
        )
    ]  # fmt: skip
    until_ = {"until": "2099-01-01T00:00:00Z"}
    await gathered(*(
        made(utility.world.op, f"/programmes/{one}/enrolments", {"thing": thing, **until_})
        for one in programmes for thing in things
    ))  # fmt: skip
    return programmes


async def linked(home):
    """Make a Thing of the home of each EndDevice, and the Thing whose limits it sets."""
    op = home.world.op
    body = {"kind": "application", "name": "grid", "roles": ["operator", "owner"]}
    principal = (await op.post("/principals", json=body)).json()["id"]
    known = {"certificate": home.issued.crt.read_text()}
    assert (await op.post(f"/principals/{principal}/known-certificates", json=known)).status_code == 201
    await gathered(*(home.world.thing(f"urn:example:h-{at}", METER) for at in range(1, MANY + 1)))
    await gathered(*(
        made(op, "/things", {
            "id": f"urn:example:link-{at}", "title": "Link", "model": LINK_MODEL, "adapter": "ieee2030_5",
            "connection": {"utility": "grid", "thing": f"urn:example:h-{at}", "lfdi": f"{at:040X}"},
        })
        for at in range(1, MANY + 1)
    ))  # fmt: skip


@pytest.mark.slow
async def test_many_are_followed_through_an_event_and_a_restart(utility, tmp_path) -> None:
    home = Home(utility, tmp_path / "home")
    await home.start(poll_most_s=2.0)
    try:
        emergency, peaks, _ = await behind(utility, home)
        await linked(home)
        control = await utility.event(peaks, {"exportLimitW": 100})

        async def followed(many):
            controls = home.world.node.controls
            standing = [one for one in controls.programmes.book.kept.values() if not one.retired_us]
            events = [one for one in controls.programmes.event_book.kept.values() if not one.cancelled_us]
            return (len(standing), len(events)) == (3 * MANY, many) or None

        await until(lambda: followed(MANY), 60)
        await home.stop()
        await home.start(poll_most_s=2.0)
        await utility.event(emergency, {"generationLimitW": 0})
        await until(lambda: followed(2 * MANY), 60)
        answer = await utility.world.op.post(f"/programmes/{peaks}/events/{control}/cancel", json={})
        assert answer.status_code == 200
        await until(lambda: followed(MANY), 60)
    finally:
        await home.stop()
