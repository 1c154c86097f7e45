"""What everyone says: ids, quantities and units, time and intervals, reading types, readings, errors, codecs.

The kernel does no I/O and knows no one else in the house.

Conventions held everywhere:

* times are UTC, ``int64`` microseconds since 1970-01-01 inside and RFC 3339 outside;
* intervals are half-open, ``[start, end)``;
* power at a connection point is **import positive, export negative** (load convention, as CIM);
* energy is two non-negative registers, import and export, never one signed number.
"""
