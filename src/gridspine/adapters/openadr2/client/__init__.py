"""The node as a VEN of somebody else's VTN of OpenADR 2.0b.

::

    connection, record    how a Thing says whom it follows; what is kept of that
    call                  messages to a VTN, over mutual TLS
    plan                  an eiEvent ─► intervals of an event of the node; pure
    mirror                its events as programmes and events of the node: leases follow, and what is answered
    telemetry             what it asks to be told, from the node's history
    follower, followers   register, poll, answer, report, again: for one VTN, for all
"""
