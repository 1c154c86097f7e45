"""What judges an adapter, ours or a stranger's, and what helps to write one.

::

    node       `FakeNode`: an `AdapterContext` that a test holds in its hand: real sockets, a gate before the log
    rig        what an adapter's author brings: a device of its protocol that can be cut, be silent, refuse
    rules      what is asked of an adapter: bronze, silver, gold
    quality    what an adapter says of itself: ``quality.toml``
    facets     what an order is made of, and what a language makes of it
    checks     the rules that a machine can see
    judge      all of them, over one adapter

``gridspine adapter check NAME`` runs them.
"""
