"""The event log: append, read, follow, trim.

::

    append ──► topic ─┬─ partition 0   0 1 2 3 4 5 6 …
                      └─ partition 1   0 1 2 3 …          offsets count per partition
    follow(group) ──► every record once to the group, from its committed offset on

`port` is the contract, fit for Kafka as it stands; `sqlite` is the embedded engine; `writer` is the one thread that
screens, appends and publishes.
"""
