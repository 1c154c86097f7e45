"""The edge: a light process beside the devices that goes on without the node.

::

    node ══ one connection, opened from here ══╗          orders.db                    readings.db
     things, leases, rules ────────────────► link ─► book (Commander) ─► adapters ─► devices
     ◄── acknowledged once durable, progress ─┤         ▲ set-points       │
     ◄── readings: live first, then backfill ─┴─ buffer ◄── exception ◄────┘
                                                          └► rules (Starlark, in a child)

A lease is acknowledged to the node only when it is durable here, and from then on carried out by the clock: the same
`gridspine.things.commander.Commander` as in the node decides what a point holds now. A device is acknowledged only
when its reading is durable here. What the node has confirmed to have is deleted.

It imports no web framework, no archive, no table engine: it is to stay below 60 MB.
"""
