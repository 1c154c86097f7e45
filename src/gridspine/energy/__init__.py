"""The energy domain. It knows ``things`` and ``sharing`` and no protocol."""
