"""The topics of the node's log."""

from gridspine.infra.log.port import Topic

TOPICS = (
    Topic("readings"),
    Topic("held"),
    Topic("quarantine"),
    Topic("points", control=True),
    Topic("events", control=True),
    Topic("alarms", control=True),
    Topic("commands", control=True),
    Topic("ledger", control=True),
    Topic("audit", control=True),
)
"""``control`` topics go on when the disk is too full for data."""
