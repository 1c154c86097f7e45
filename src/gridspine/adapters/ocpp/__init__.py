"""OCPP: the node as management system (CSMS) of charge points, versions 1.6 (JSON), 2.0.1 and 2.1.

::

    wire.py, schema.py          frames and the official schemas             meter.py    meter values → readings  (pure)
    websocket.py, session.py    one connection: calls in either direction   profile.py  leases → profiles        (pure)
    admission.py, server.py     who may come in; one connection a station   station.py  Things ↔ EVSEs           (pure)
    answers_16.py, answers_2.py what a charge point is answered             transaction.py  what is remembered   (pure)
    chargepoint.py, book.py     its readings and its record, durable        token.py    who may charge           (pure)
    told.py                     what it is told of its orders               hearing.py  whether its clock is set (pure)
    driver.py                   the `Adapter`

Sign convention: OCPP measures import and export apart. Power is import minus export, so charging is positive; energy
stays two registers.
"""

from gridspine.adapters.ocpp.driver import OcppAdapter, adapter

__all__ = ["OcppAdapter", "adapter"]
