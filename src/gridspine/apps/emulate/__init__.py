"""A fleet of emulated devices outside of a node, which registers them, sends what they read and tells them orders.

::

    fleet (energy.emulators) ─ values of a step ─► sheets: Arrow bodies ─ POST /readings, Channel: emulated ─► node
         ▲                                                                                                     │
         └────────────── what is in force ◄── GET /emulated/orders, once a second ◄──── commands, leases ──────┘
"""
