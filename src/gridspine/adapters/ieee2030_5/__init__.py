"""IEEE 2030.5-2018 with CSIP-AUS: the node as utility server of devices and aggregators, and as client of one.

::

    wire.py, power.py, mrid.py, identity.py   XML, numbers, ids                       (pure)
    end_device.py   Things ↔ EndDevices       der_program.py  what Things follow → DER programs and controls   (pure)
    tariff.py, tariff_documents.py  prices that Things follow → tariff profiles       (pure)
    der_document.py, meter.py  what devices say, and meter                            (pure)
    view.py, resources.py, tree.py   what a client is shown, as documents, by path    (pure)
    record.py       what is kept of the wire  session.py   who asks, and what was rendered
    writes.py, mirror.py   what clients say   commands.py  leases as controls         notify.py  subscribers
    server.py       the application           driver.py    the `Adapter`
    client/         the other side: what a utility's server says, followed

Sign convention: readings of forward flow are import, positive; a target is turned, as output is positive there.
"""

from gridspine.adapters.ieee2030_5.driver import Ieee20305Adapter, adapter

__all__ = ["Ieee20305Adapter", "adapter"]
