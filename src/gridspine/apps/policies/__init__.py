"""The node's policies, in Cedar, and the entities they speak of.

::

    Organisation ◄─ organisation ─ Principal          Thing ─ devices ─► Principal
         ▲  ▲                                          Product ◄─ product ─ AccessRequest, Grant
         │  └── organisation ─ Thing, Product, Node                          └ owner, consumer ─► Organisation
"""
