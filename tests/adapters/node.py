"""`FakeNode`, under the name by which these tests load it."""

from gridspine.testing.node import DictStore, FakeNode, Stored

__all__ = ["DictStore", "FakeNode", "Stored"]
