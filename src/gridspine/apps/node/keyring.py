"""Replace the node's own keys while it runs, and say what follows from it."""

from gridspine.apps.node.node import Node
from gridspine.infra.ledger.handover import Handover
from gridspine.infra.registry.port import Transaction
from gridspine.kernel.errors import Invalid


def rotate(node: Node, key: str, *, at_once: bool = False, actor: str = "node") -> str:
    """Replace ``key`` and return what goes on and what to do next; recorded in the ledger's topic. Blocks.

    Raises `Invalid` for a key there is none of, or ``at_once`` where that means nothing.
    """
    if at_once and key != "token":
        raise Invalid("at_once: only the key of access tokens can end all it signed at once")
    identity = node.identity
    if key == "token":
        identity.rotate_token_key(at_once=at_once)
        words = "every access token ended" if at_once else "running access tokens stay valid until they run out"
    elif key == "ledger":
        _hand_over(node)
        words = "receipts from before verify with the old key; a handover signed by both leads to the new one"
    elif key == "authority":
        begun = identity.authority.rotate()
        words = (
            "begun: let every client fetch /authority anew, then rotate once more to end it"
            if begun
            else "ended: the new authority signs the server's certificate; clients' certificates stay good"
        )
    elif key in {"session", "device"}:
        identity.rotate_secret("cookies" if key == "session" else "devices")
        words = "nothing ends: what was made with the old secret is still taken" + (
            "" if key == "session" else ", and kept anew at its next use"
        )
    else:
        raise Invalid(f"{key[:40]!r} is none of the node's keys: token, ledger, authority, session, device")
    identity.directory.note("key.rotated", key, actor=actor, data={"atOnce": at_once})
    return words


def handovers(node: Node) -> list[str]:
    """Return the notes by which the ledger's keys followed each other, oldest first. Blocks."""
    return [kept.note for kept in node.registry.read(lambda tx: tx.list(Handover))]


def _hand_over(node: Node) -> None:
    signer = node.identity.custody.new_ledger_key()

    def keep(note: str) -> None:
        # The note first: without it the new key would be nobody's. One that leads to a key never used does no harm.
        def work(tx: Transaction) -> None:
            number = tx.next_number("ledger-handover")
            tx.put(Handover(note, node.clock.now_us()), id=f"{number:08d}", owner=node.organisation)

        node.registry.transact(work)
        node.identity.custody.replace_ledger_key(signer)

    node.ledger.hand_over(signer, keep)
