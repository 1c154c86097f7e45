"""The other side: the node, or a device of its own, as client of a utility's server of IEEE 2030.5 with CSIP-AUS.

::

    der_control.py   DERPrograms and DERControls as a server says them ─► controls            (pure)
    held.py          which of many holds now                                                  (pure)
    answer.py        which responses are due                                                  (pure)
    reading.py       what is mirrored: usage points, readings, documents of a DER             (pure)
    connection.py    one server: mutual TLS, requests      walk.py   its tree, read at its own rates
    end_device.py    a Thing that stands for an EndDevice  record.py what is kept of it over a restart
    carried.py       programmes and events of the node, as the server says them
    mirror.py        readings of the node, as the server wants them
    follower.py      one EndDevice, followed              utility.py one server, and all that follow it
    inverter.py      an emulated inverter that speaks it, a program of its own

A server's programs become programmes of the organisation whose site it is, and their controls events: limits,
authority, reversion and receipts are those of any programme. What a server said holds on while it is away, and ends
when it said; then its default holds.
"""
