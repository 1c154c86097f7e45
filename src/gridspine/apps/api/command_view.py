"""A command as the API shows it."""

import msgspec

from gridspine.apps.node.node import Node
from gridspine.kernel.time import format_rfc3339
from gridspine.things.command import Command, is_of
from gridspine.things.thing import Thing


class ChangeView(msgspec.Struct, frozen=True):
    """A state a command came into, when, and why."""

    state: str
    at: str
    reason: str


class StepView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A value of a schedule, and from when it holds."""

    from_: str
    value: float


class CommandView(
    msgspec.Struct,
    frozen=True,
    rename={"from_": "from", "approve_by": "approveBy", "approved_by": "approvedBy"},
):
    """A command and its story.

    ``waiting`` says what holds its order back, or shapes it, now; ``batch`` names the order to many it is part of.
    """

    id: str
    thing: str
    point: str
    value: float
    from_: str
    until: str
    state: str
    reason: str
    changes: list[ChangeView]
    by: str = ""
    authority: str = ""
    batch: str = ""
    steps: list[StepView] = []
    waiting: str = ""
    approve_by: str | None = None
    approved_by: str = ""


def commands_of(node: Node, thing: Thing) -> list[Command]:
    """Return the commands of a Thing since it is whose it is now, the oldest first."""
    return [one for one in node.commands.commander.commands(thing.id) if is_of(one, thing)]


def command_view(command: Command, waiting: str = "") -> CommandView:
    """Return a command as it is shown."""
    lease = command.lease
    changes = [ChangeView(change.state, format_rfc3339(change.at_us), change.reason) for change in command.changes]
    return CommandView(
        command.id,
        lease.thing,
        lease.point,
        lease.value,
        format_rfc3339(lease.from_us),
        format_rfc3339(lease.until_us),
        command.state,
        command.reason,
        changes,
        by=lease.principal,
        authority=lease.authority.value,
        batch=command.batch,
        steps=[StepView(format_rfc3339(step.from_us), step.value) for step in lease.steps],
        waiting=waiting,
        approve_by=format_rfc3339(command.approve_by_us) if command.approve_by_us else None,
        approved_by=command.approved_by,
    )
