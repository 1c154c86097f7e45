"""Transactions on the page of a charging point."""

from gridspine.apps.node.node import Node
from gridspine.apps.node.transactions import TransactionView
from gridspine.kernel.errors import GridspineError
from gridspine.things.directory import Thing

SHOWN = 10


async def transaction_rows(node: Node, thing: Thing) -> list[TransactionView] | None:
    """Return the last transactions of a Thing; None for one that keeps none, or whose adapter cannot tell now."""
    if not node.transactions.kept(thing):
        return None
    try:
        return (await node.transactions.page(thing)).transactions[:SHOWN]
    except GridspineError:
        return None
