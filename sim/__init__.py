"""A seeded simulation of a whole node: its clock, network, disk, devices and clients are made up, the node is real.

::

    python -m sim --seed 1234        one run, told step by step
    python -m sim --seeds 0..5000    many runs; the first that breaks an invariant is told

    seed ─► world ─┬─ loop      virtual time; what would run on threads runs in turn, late by the seed
                   ├─ disk      every write is noted; a power cut keeps what was synced, and some of the rest
                   ├─ network   requests and answers lost, late, doubled, in another order
                   ├─ clients   senders, owners, consumers, commanders, a steward: by the HTTP application itself
                   ├─ devices   by an adapter; each has its own timer
                   └─ checks    after each step, after each start, at the end

Not shipped with the node. Needs Linux and a C compiler: what a process writes is noted by a library loaded before
the C library (``disk/shim.c``).
"""
