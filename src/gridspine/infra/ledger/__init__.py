"""An append-only Merkle log with signed checkpoints and receipts that verify offline.

::

    log topic "ledger"   0  1  2  3  4  5          body = leaf
    ledger (projection)  h  h  h  h  h  h          leaf hashes
                         └h┘   └h┘   └h┘           whole subtrees, so that a proof reads O(log n) hashes
                          └──h──┘
    checkpoint           origin, size, root, signed with Ed25519
    receipt              leaf, index, path to the root, checkpoint

`merkle` is the mathematics, `note` signs and opens checkpoints, `receipt` is what is handed out and how it is
verified, `ledger` follows the log.
"""
