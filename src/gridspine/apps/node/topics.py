"""The topics of the node's log."""

from gridspine.apps.node.authority import AUDIT
from gridspine.infra.log.port import Topic
from gridspine.infra.log.topics import EVENTS, LEDGER, POINTS, READINGS
from gridspine.things.alarm import ALARMS
from gridspine.things.command import COMMANDS
from gridspine.things.held import HELD_TOPIC
from gridspine.things.quarantine import QUARANTINE

TOPICS = (
    Topic(READINGS),
    Topic(HELD_TOPIC),
    Topic(QUARANTINE),
    Topic(POINTS, control=True),
    Topic(EVENTS, control=True),
    Topic(ALARMS, control=True),
    Topic(COMMANDS, control=True),
    Topic(LEDGER, control=True),
    Topic(AUDIT, control=True),
)
"""``control`` topics go on when the disk is too full for data."""
