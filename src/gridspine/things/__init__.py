"""Things and their twins: Thing Models, points, screening, twin state, leases, alarms, and the adapter contract.

::

    device ─wire→ adapter ─NamedReadings→ intake ─→ screen ─→ log ─→ twin
    lease ─→ log ─→ adapter ─wire→ device ─→ a reading confirms

Knows ``kernel`` and ``infra``; does not know ``sharing``, ``energy`` or any protocol.
"""
