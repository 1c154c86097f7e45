"""``gridspine demo``: a node, three homes, emulated neighbours and two organisations, on this machine."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

PORT = 8600
PORTAL_USER, PORTAL_PASSWORD = "demo", "demo-on-loopback"
_LEASE_S = 12.0


def demo(
    seconds: Annotated[float, typer.Option(help="End after about so long [s]; 0 goes on until Ctrl-C.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Check the story and end with one line of JSON.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data directory (default: a new one, removed at the end).")] = None,
    port: Annotated[int | None, typer.Option(help="Port of API and portal (default: 8600; free with --json).")] = None,
    cut_within: Annotated[
        float, typer.Option(help="With --json: how soon a revoked consumer's stream must have ended [s].")
    ] = 1.0,
) -> None:
    """Start a node with three homes on this machine, say what happens, and stay until Ctrl-C."""
    chosen = port if port is not None else (0 if as_json else PORT)
    with contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gridspine-demo-")))
        checked_s = cut_within if as_json else None
        code = asyncio.run(_demo(folder, chosen, seconds or (30.0 if as_json else 0.0), checked_s))
    if code:
        raise typer.Exit(code)


async def _demo(data: Path, port: int, seconds: float, cut_within_s: float | None) -> int:
    """Tell the story; with ``cut_within_s`` [s] check it, and let a revoked stream go on no longer."""
    from gridspine.apps.demo.story import Story

    began = time.monotonic()

    to = sys.stdout if cut_within_s is None else sys.stderr

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {text}", file=to, flush=True)

    story = Story(data, say, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await story.start()
        await story.share()
        await story.take_in()
        if cut_within_s is not None:
            return await _checked(story, began + seconds, cut_within_s)
        await _show(story, seconds, stop)
        return 0
    finally:
        say("ending all processes")
        await story.close()


async def _checked(story: Any, end: float, cut_within_s: float) -> int:
    from gridspine.apps.demo.verdict import (
        Verdict,
        judge_channels,
        judge_charging,
        judge_counts,
        judge_delivery,
        judge_ensemble,
        judge_export,
        judge_fallback,
        judge_life,
        judge_receipts,
        judge_ven,
    )

    verdict = Verdict()
    home = story.homes[0]
    applied = await story.command(story.box.home, 10.0)
    await judge_ensemble(story, verdict, story.box.home)
    await story.bid()
    await story.box.exchange_meter()
    await judge_channels(story, verdict)
    await judge_life(story, verdict)
    await judge_charging(story, verdict)
    await judge_export(story, verdict)
    await judge_ven(story, verdict)
    await asyncio.sleep(max(0.0, end - time.monotonic() - _LEASE_S - 6.0))
    line = await story.settle()
    verdict.hold("a bid was settled from registers and proven offline", true=line.get("outcome") == "settled")
    verdict.figures["paid_wh"] = float(line.get("paidWh") or 0)
    verdict.figures["cut_s"] = round(await story.revoke(), 4)
    verdict.hold("the revoked consumer was cut", true=story.granted.ended == "revoked")
    verdict.hold(f"the cut took less than {cut_within_s:g} s", true=verdict.figures["cut_s"] < cut_within_s)
    await judge_counts(story, verdict)
    await judge_delivery(story, verdict)
    await judge_receipts(story, verdict)
    last = await story.command(home, _LEASE_S)  # and kill the node at once: the lease must not end meanwhile
    sent = time.monotonic()
    await story.kill_node()
    commands = [applied, last]
    for at, command in enumerate(commands):
        states = [change["state"] for change in command["changes"]]
        verdict.hold(f"command {at + 1} was applied, shown by a reading", true="applied" in states)
    verdict.figures["commands_applied"] = sum(
        any(change["state"] == "applied" for change in command["changes"]) for command in commands
    )
    power_w = await judge_fallback(home, verdict, obeying=True)
    story.say(f"  the battery still charges at {power_w:.0f} W: the lease is its own")
    await asyncio.sleep(max(0.0, sent + _LEASE_S + 2.0 - time.monotonic()))
    power_w = await judge_fallback(home, verdict, obeying=False)
    story.say(f"  the lease is over: {power_w:z.0f} W, with nobody's help")
    for claim in verdict.failed:
        story.say(f"DID NOT HOLD: {claim}")
    order = ("things", "points", "received", "accepted", "suppressed", "duplicate", "refused", "stored", "delivered",
             "p50_ms", "p99_ms", "commands_applied", "cut_s", "receipts_verified",
             "life_events", "ensemble_members", "emulated_things", "charging_w", "csip_w", "ven_w",
             "paid_wh")  # fmt: skip
    story.say("the story held" if not verdict.failed else "the story did not hold")
    await story.close()
    print(json.dumps({name: verdict.figures.get(name) for name in order}), flush=True)
    return 1 if verdict.failed else 0


async def _show(story: Any, seconds: float, stop: asyncio.Event) -> None:
    from gridspine.apps.cli.connect import check
    from gridspine.apps.demo.neighbourhood import EMULATED_BATTERY

    user = {
        "kind": "user", "name": PORTAL_USER, "first_password": PORTAL_PASSWORD,
        "roles": ["administrator", "operator", "owner", "consumer", "auditor"],
    }  # fmt: skip
    check(await story.northside.post("/principals", json=user))
    check(await story.northside.post("/principals", json=user | {"name": "brightfield", "organisation": "brightfield"}))
    await story.command(story.box.home, 5.0)
    await story.box.exchange_meter()
    await story.bid()
    await story.command(story.homes[0], 300.0)
    await story.settle()
    battery = story.homes[0].battery_id
    print(
        f"""
Portal:  {story.url}   sign in as {PORTAL_USER} or brightfield, password {PORTAL_PASSWORD}
         As either: Control, Bids shows what was bid, the registers at both instants, and what was paid
         As brightfield: the life of the battery of home 2; an order to all batteries (Control, Orders to many);
         who charged at home 3, and the actions of its charge point; Home 1 (Control, Sites), and what its
         CSIP-AUS inverter may export; what its VEN draws in the event of Control, Programmes;
         as {PORTAL_USER}: meters live, forty emulated neighbours, the grant to revoke (Sharing, Grants)

Try (in another terminal):
  export PATH={Path(sys.executable).parent}:$PATH GRIDSPINE_DATA={story.data}
  gridspine curl /things
  gridspine curl --as brightfield /things/{battery}/properties
  gridspine curl --as brightfield /products/{story.product}/stream
  gridspine curl --as brightfield /things/{story.box.thing}/history
  gridspine curl --as brightfield /things/urn:example:home-3:charger/transactions
  gridspine curl --as brightfield /things/urn:example:home-1:csip-inverter/properties
  gridspine curl --as brightfield /programmes/{story.programme}/events
  gridspine curl --as brightfield /ensembles/{story.ensemble}
  gridspine curl --as brightfield /things/{story.ensemble}/values
  gridspine curl /things/{EMULATED_BATTERY}/channels
  gridspine bid settlement --as brightfield {story.bidding.bid}
  gridspine bid verify {story.data}/evidence/bid.json --key {story.data}/evidence/ledger.pub
  gridspine curl -X POST /grants/{story.grant}/revoke
  gridspine query "select thing, property, last(value order by observed) from readings group by all order by all"

This is the demo profile: on loopback it also takes plain bearer tokens, without signed proofs, such as Brightfield's:
  curl -H "Authorization: Bearer {story.bearer}" {story.url}/things

Logs: {story.processes.logs}
"""
        + ("Ctrl-C ends it." if not seconds else f"It ends after {seconds:.0f} s."),
        flush=True,
    )
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds or None)
