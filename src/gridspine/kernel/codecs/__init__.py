"""Codecs: bytes of a wire or of the log to and from arrays of readings. Pure; no I/O."""
