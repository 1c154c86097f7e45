"""Registers: what one counted, across exchanges of its meter and roll-overs."""

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, get
from litestar.params import FromPath, FromQuery, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import MAX_NAME_CHARS, permitted
from gridspine.apps.node.witness import accepted
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.meter_exchange import of_register, used


class UsedView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a register counted between its first and last reading seen: ``amount`` [``unit``], across ``exchanges`` and
    ``rollovers``; ``unexplained`` falls are counted as nothing. ``cut``: older readings have left the log.
    """

    name: str
    unit: str
    amount: float
    from_: str | None
    until: str | None
    readings: int
    rollovers: int
    exchanges: int
    unexplained: int
    cut: bool


@get("/things/{thing_id:str}/registers/{name:str}/used", summary="What a register counted", tags=["lifecycle"])
async def read_used(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    name: Annotated[str, Parameter(max_length=MAX_NAME_CHARS)],
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
) -> UsedView:
    """Sum what a register counted by the readings the log still holds, across exchanges and roll-overs."""
    thing = permitted(node, request, thing_id, "thing.read")
    points = node.things.model(thing).points
    at = next((place for place, point in enumerate(points) if point.name == name), None)
    if at is None or points[at].reading_type.kind != "register":
        raise NotFound(f"{thing.title} has no register {name!r}")
    now_us = node.clock.now_us()
    since_us = parse_rfc3339(since) if since else now_us - 86_400_000_000
    until_us = parse_rfc3339(until) if until else now_us
    async with node.examinations.turn():
        seen, cut = await asyncio.to_thread(accepted, node.log, thing.organisation, [thing.first + at], since_us)
    exchanges = of_register((await node.lives.exchanges(thing)).list, name)
    return _used_view(points[at], seen.get(thing.first + at), exchanges, (since_us, until_us), cut=cut)


def _used_view(point: Any, seen: Any, exchanges: Any, window: tuple[int, int], *, cut: bool) -> UsedView:
    observed_us, _, value = (np.zeros(0, np.int64), None, np.zeros(0)) if seen is None else seen.columns()
    inside = (observed_us >= window[0]) & (observed_us < window[1]) & np.isfinite(value)
    order = np.argsort(observed_us[inside], kind="stable")
    observed_us, value = observed_us[inside][order], value[inside][order]
    found = used(observed_us, value, exchanges, point.reading_type.rollover)
    ends = [format_rfc3339(int(observed_us[at])) for at in (0, -1)] if len(value) else [None, None]
    return UsedView(
        point.name, point.reading_type.unit, found.amount, ends[0], ends[1], len(value), found.rollovers,
        found.exchanges, found.unexplained, cut,
    )  # fmt: skip
