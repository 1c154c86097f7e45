"""Who may send readings of what, on which channel: Cedar's answer compiled to a set of Things, and asked anew."""

from dataclasses import dataclass

from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden
from gridspine.kernel.readings import Channel
from gridspine.things.adapter import Source

ACTIONS = {
    Channel.REPORTED: "readings.submit",
    Channel.PLANNED: "readings.plan",
    Channel.EMULATED: "readings.emulate",
}
"""What one must be allowed to send on a channel; *commanded* is the commander's own."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The right to send: as ``source``, for the Things in ``only`` (None: all of its organisation)."""

    source: Source
    only: frozenset[str] | None


def submission(node: Node, caller: Caller, channel: Channel = Channel.REPORTED) -> Submission:
    """Return the caller's right to send readings on ``channel``; raise `Forbidden` when it has none."""
    action = ACTIONS[channel]
    source = Source(caller.principal, caller.organisation, caller.session)
    if caller.kind != "device":
        node.authority.on_own(caller, action)
        return Submission(source, None)
    key = (action, caller.principal, caller.epoch, caller.roles, node.things.changes)
    known = node.submissions.get(key)
    if known is None:
        own = (one for one in node.things.of_device(caller.principal) if one.organisation == caller.organisation)
        known = frozenset(thing.id for thing in own if node.authority.allows_submission(caller, thing, action))
        if len(node.submissions) > 10_000:
            node.submissions.clear()
        node.submissions[key] = known
    if not known:
        raise Forbidden("this device speaks for no Thing: its operator must say for which")
    return Submission(source, known)
