"""A utility's server that the node follows: what it says becomes programmes and events of the node's own.

::

    Thing with a connection ─► `Followers`: one follower each ─► `Pace`: when it is asked, and that it answers
                                        │
    what the server lists  ─► `made`: a programme, once ◄─ `enrolled`: what the owner consented to
                              events of it: `is_live`, `cancel_strays`

How a server is spoken to, and what its words mean, is its adapter's; this room knows no protocol. Power is import
positive, as everywhere in the node.
"""
