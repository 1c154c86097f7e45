"""Events that were published of what a server says: whether they stand, and those that nobody knows any more."""

from collections.abc import Collection, Iterable

from gridspine.energy.control_port import ControlPort
from gridspine.kernel.errors import NotFound


def is_live(port: ControlPort, programme: str, event: str, now_us: int) -> bool:
    """Whether an event ("" for none) of an own programme is running or to come at ``now_us`` [µs since 1970]."""
    if not event:
        return False
    try:
        status = port.programmes.event(programme, event).status(now_us)
    except NotFound:  # it is over, and was let go
        return False
    return status in {"scheduled", "active"}


async def cancel_strays(port: ControlPort, programmes: Iterable[str], known: Collection[str], now_us: int) -> None:
    """Cancel what was published before the node stopped, and is not ``known`` any more: it is published anew."""
    for programme in programmes:
        try:
            events = port.programmes.events(programme)
        except NotFound:  # it was retired here, and let go since
            continue
        for one in events:
            stray = one.id not in known and one.by == port.source.principal
            if stray and one.status(now_us) in {"scheduled", "active"}:
                await port.programmes.cancel(programme, one.id, "it is published anew")
