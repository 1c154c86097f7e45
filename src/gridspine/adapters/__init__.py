"""One folder a protocol.

Nothing in the house imports an adapter: they arrive by the entry point group ``gridspine.adapters``.
"""
