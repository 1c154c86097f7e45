"""Receipts and signed heads of the ledger, collected over a run; at its end they all still hold."""

from collections.abc import Iterable

from gridspine.apps.node.node import Node
from gridspine.infra.ledger.note import VerifierKey
from gridspine.infra.ledger.receipt import Receipt, verify, verify_growth
from gridspine.kernel.errors import GridspineError
from sim.story import Story

_KEPT = 12


class Receipts:
    """What the ledger handed out."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._receipts: dict[str, Receipt] = {}
        self._heads: list[str] = []
        self._key: VerifierKey | None = None

    def collect(self, node: Node, events: Iterable[str]) -> None:
        """Take a signed head, and receipts of ``events``."""
        node.ledger.catch_up()
        self._key = self._key or node.ledger.key
        if node.ledger.size:
            self._heads = [*self._heads[-_KEPT:], node.ledger.checkpoint()]
        for event in events:
            if event not in self._receipts:
                self._receipts[event] = node.ledger.receipt(event)

    def check(self, node: Node) -> None:
        """Verify every receipt by itself, and every head against the tree of now."""
        if self._key is None:
            return
        self._story.check("the ledger keeps its key", node.ledger.key == self._key, "another key signs")
        node.ledger.catch_up()
        for event, receipt in self._receipts.items():
            self._story.check("receipts verify", self._holds(receipt, node, event), f"that of {event} does not")
        for head in self._heads:
            try:
                verify_growth(node.ledger.growth(head), self._key)
            except GridspineError as error:
                self._story.check("the ledger only grows", False, f"{error.detail}: {head!r}")
            self._story.check("the ledger only grows", True)

    def _holds(self, receipt: Receipt, node: Node, event: str) -> bool:
        assert self._key is not None
        try:
            verify(receipt, self._key)
            return node.ledger.place(event).leaf == receipt.leaf_index
        except GridspineError:
            return False
