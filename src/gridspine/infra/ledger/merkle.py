"""The Merkle tree of RFC 9162 §2.1: hashing, roots, inclusion and consistency proofs.

Hashes are SHA-256, 32 bytes. A tree is read through ``node(level, index)``: the root of the whole subtree over
leaves ``[index << level, (index + 1) << level)``.

Subtrees (``[start, end)`` with ``start`` a multiple of the next power of two of the length) follow the IETF draft
"Merkle Tree Certificates", whose proofs contain those of RFC 9162 as the case ``start = 0``.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

NodeReader = Callable[[int, int], bytes]
"""``node(level, index)``: the hash of a whole subtree that exists."""

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""Root of the tree without leaves (RFC 9162 §2.1.1)."""
MAX_PATH = 65
"""Hashes in a proof at most, for trees of up to 2^64 leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 ‖ leaf) (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def appended(node: NodeReader, index: int, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield ``(level, index, hash)`` of every subtree that leaf hash ``leaf`` at ``index`` makes whole."""
    level, digest = 0, leaf
    yield level, index, digest
    while index & 1:
        digest = node_hash(node(level, index - 1), digest)
        level, index = level + 1, index >> 1
        yield level, index, digest


def root(node: NodeReader, start: int, end: int) -> bytes:
    """Return the root over leaves ``[start, end)`` of a subtree; `EMPTY_ROOT` when there are none."""
    length = end - start
    if length == 0:
        return EMPTY_ROOT
    level = (length - 1).bit_length()
    if length == 1 << level:
        return node(level, start >> level)
    split = start + (1 << (level - 1))
    return node_hash(root(node, start, split), root(node, split, end))


def inclusion_path(node: NodeReader, index: int, size: int) -> list[bytes]:
    """Return the path from leaf ``index`` to the root of the tree of ``size`` leaves (RFC 9162 §2.1.3.1)."""
    assert 0 <= index < size, f"leaf {index} of {size}"
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < split:
            path.append(root(node, split, end))
            end = split
        else:
            path.append(root(node, start, split))
            start = split
    return path[::-1]


def consistency_path(node: NodeReader, size1: int, size2: int) -> list[bytes]:
    """Return the proof that the first ``size1`` of ``size2`` leaves are an earlier tree (RFC 9162 §2.1.4.1)."""
    assert 0 < size1 <= size2, f"tree {size1} of {size2}"
    path: list[bytes] = []
    start, end = 0, size2
    while end > size1:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        if size1 <= split:
            path.append(root(node, split, end))
            end = split
        else:
            path.append(root(node, start, split))
            start = split
    if start:
        path.append(root(node, start, end))
    return path[::-1]


def inclusion_holds(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether ``path`` leads from leaf hash ``leaf`` at ``index`` to the root of ``size`` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size or not _sound([leaf, *path]):
        return False
    at, last, digest = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            digest = node_hash(step, digest)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            digest = node_hash(digest, step)
        at, last = at >> 1, last >> 1
    return last == 0 and digest == expected_root


def consistency_holds(size1: int, root1: bytes, size2: int, root2: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the tree of ``size2`` grew from that of ``size1`` (RFC 9162 §2.1.4.2).

    A tree without leaves proves nothing and is refused; trees of one size are consistent when their roots are equal.
    """
    return size1 > 0 and subtree_consistency_holds(0, size1, root1, size2, root2, path)


def subtree_inclusion_holds(
    leaf: bytes, index: int, start: int, end: int, path: Sequence[bytes], subtree_root: bytes
) -> bool:
    """Whether ``path`` leads from leaf hash ``leaf`` at ``index`` of the whole tree to the root of ``[start, end)``."""
    return is_subtree(start, end) and inclusion_holds(leaf, index - start, end - start, path, subtree_root)


def is_subtree(start: int, end: int) -> bool:
    """Whether ``[start, end)`` is a subtree: its start is a multiple of its length, rounded up to a power of two."""
    if not 0 <= start <= end:
        return False
    return start == end or start % (1 << (end - start - 1).bit_length()) == 0


def subtree_consistency_holds(
    start: int, end: int, subtree_root: bytes, size: int, tree_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether ``path`` proves that ``[start, end)`` with ``subtree_root`` lies in the tree of ``size`` leaves.

    An empty subtree lies in every tree, with an empty proof.
    """
    if not is_subtree(start, end) or end > size or not _sound(path):
        return False
    if start == end:
        return not path and subtree_root == EMPTY_ROOT
    first, last, tree = _climb(start, end - 1, size - 1)
    steps = list(path)
    if first == last:
        seed = subtree_root
    elif steps:
        seed = steps.pop(0)
    else:
        return False
    return _consistent(first, last, tree, seed, steps) == (subtree_root, tree_root)


def _sound(path: Sequence[bytes]) -> bool:
    return len(path) <= MAX_PATH + 1 and all(len(step) == HASH_BYTES for step in path)


def _climb(first: int, last: int, tree: int) -> tuple[int, int, int]:
    """Return the three positions on the level of the largest whole subtree that ends the range."""
    at_edge = last == tree
    while first != last and (at_edge or last & 1):
        first, last, tree = first >> 1, last >> 1, tree >> 1
    return first, last, tree


def _consistent(first: int, last: int, tree: int, seed: bytes, steps: list[bytes]) -> tuple[bytes, bytes] | None:
    """Return the roots of subtree and tree that the proof leads to, or None when its length is wrong."""
    small = large = seed
    for step in steps:
        if tree == 0:
            return None
        if last & 1 or last == tree:
            if first < last:
                small = node_hash(step, small)
            large = node_hash(step, large)
            while not last & 1 and last:
                first, last, tree = first >> 1, last >> 1, tree >> 1
        else:
            large = node_hash(large, step)
        first, last, tree = first >> 1, last >> 1, tree >> 1
    return (small, large) if tree == 0 else None
