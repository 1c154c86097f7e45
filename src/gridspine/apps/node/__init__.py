"""The node: every part composed from its settings and a clock. Production and simulation build it alike.

::

    compose(settings, data, clock) ─► Node ── start ─► … ── stop
"""
