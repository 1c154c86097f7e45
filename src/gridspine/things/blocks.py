"""`Blocks`: which Things are in local control, and which tags hang on them. A tag whose time is over hangs no more."""

from collections.abc import Iterator

from gridspine.kernel.errors import Conflict, NotFound
from gridspine.things.blocking_tag import MAX_TAGS, BlockingTag
from gridspine.things.command import LocalChanged, TagChanged
from gridspine.things.lease import Authority, Lease


class Blocks:
    """What keeps commands from Things; a projection of `LocalChanged` and `TagChanged`."""

    def __init__(self) -> None:
        self._local: dict[str, LocalChanged] = {}
        self._tags: dict[str, dict[str, TagChanged]] = {}

    def local(self, thing: str) -> LocalChanged | None:
        """Return who took ``thing`` into local control, or None while it is remote."""
        return self._local.get(thing)

    def tags(self, thing: str, now_us: int) -> list[BlockingTag]:
        """Return the tags that hang on ``thing``, the oldest first."""
        return [event.tag for event in self._tags.get(thing, {}).values() if event.tag.hangs(now_us)]

    def tag(self, thing: str, id: str, now_us: int) -> BlockingTag:
        """Return tag ``id`` of ``thing``; raise `NotFound` when it does not hang there."""
        for tag in self.tags(thing, now_us):
            if tag.id == id:
                return tag
        raise NotFound(f"no tag {id[:80]} hangs on {thing}")

    def check_room(self, thing: str, now_us: int) -> None:
        """Raise `Conflict` when one more tag is one too many."""
        if len(self.tags(thing, now_us)) >= MAX_TAGS:
            raise Conflict(f"{MAX_TAGS} tags hang on this Thing: take one down first")

    def refuse(self, lease: Lease, now_us: int) -> str:
        """Return why ``lease`` may not be, or "" when nothing blocks it."""
        local = self._local.get(lease.thing)
        if local is not None and lease.role == "setpoint":
            return f"in local control since {local.principal} took it: {local.reason}"
        if lease.authority is Authority.SAFETY:
            return ""
        for tag in self.tags(lease.thing, now_us):
            if tag.blocks(lease.point, now_us):
                return f"blocked by a tag of {tag.principal}: {tag.reason}"
        return ""

    def apply(self, event: LocalChanged | TagChanged) -> None:
        """Let ``event`` have happened; tags whose time is over go."""
        if isinstance(event, LocalChanged):
            self._local.pop(event.thing, None)
            if event.local:
                self._local[event.thing] = event
            return
        thing = event.tag.thing
        here = {name: one for name, one in self._tags.pop(thing, {}).items() if one.tag.hangs(event.at_us)}
        here.pop(event.tag.id, None)
        if event.hung:
            here[event.tag.id] = event
        if here:
            self._tags[thing] = here

    def snapshot(self) -> Iterator[LocalChanged | TagChanged]:
        """Yield events from which others become as this is."""
        yield from self._local.values()
        for here in self._tags.values():
            yield from here.values()
