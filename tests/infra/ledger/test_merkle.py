"""The tree against 518 published proofs, and against the recursive definitions of RFC 9162 §2.1 as an oracle."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.ledger import merkle

VECTORS = Path(__file__).parents[4] / "shared" / "data" / "merkle" / "rfc6962-proofs.json"


def oracle_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + oracle_root(leaves[:k]) + oracle_root(leaves[k:])).digest()


def tree(leaves):
    nodes = {}

    def node(level, index):
        return nodes[level, index]

    for index, leaf in enumerate(leaves):
        for level, number, digest in merkle.appended(node, index, merkle.leaf_hash(leaf)):
            assert (level, number) not in nodes
            nodes[level, number] = digest
    return node


def raw(values):
    return [base64.b64decode(value) for value in values or []]


def outcome(case):
    path = raw(case["proof"])
    kind = case["case"].split("/")[0]
    if kind.endswith("inclusion"):
        leaf, root = raw([case["leafHash"], case["root"]])
        if kind == "inclusion":
            return merkle.inclusion_holds(leaf, case["leafIdx"], case["treeSize"], path, root)
        return merkle.subtree_inclusion_holds(leaf, case["leafIdx"], case["start"], case["end"], path, root)
    root1, root2 = raw([case["root1"], case["root2"]])
    if kind == "consistency":
        return merkle.consistency_holds(case["size1"], root1, case["size2"], root2, path)
    assert kind == "subtreeconsistency"
    return merkle.subtree_consistency_holds(case["start"], case["end"], root1, case["size"], root2, path)


def test_published_proofs(record_property):
    if not VECTORS.exists():
        pytest.skip(f"the published proofs are not at {VECTORS}")
    cases = json.loads(VECTORS.read_text())
    assert len(cases) == 518
    wrong = [case["case"] for case in cases if outcome(case) == case["wantErr"]]
    record_property("judged", {"passed": len(cases) - len(wrong), "failed": len(wrong)})
    assert wrong == []


@pytest.mark.parametrize("size", range(70))
def test_root_is_the_recursive_one(size):
    leaves = [str(n).encode() for n in range(size)]
    assert merkle.root(tree(leaves), 0, size) == oracle_root(leaves)


def test_every_proof_of_small_trees():
    leaves = [str(n).encode() for n in range(40)]
    node = tree(leaves)
    roots = [oracle_root(leaves[:size]) for size in range(41)]
    for size in range(1, 41):
        for index in range(size):
            path = merkle.inclusion_path(node, index, size)
            for other in range(size + 1):
                holds = merkle.inclusion_holds(merkle.leaf_hash(leaves[index]), other, size, path, roots[size])
                assert holds == (other == index)
        for earlier in range(1, size + 1):
            path = merkle.consistency_path(node, earlier, size)
            for other in range(size + 1):
                holds = merkle.consistency_holds(other, roots[earlier], size, roots[size], path)
                assert holds == (other == earlier)


def test_subtrees_of_small_trees():
    leaves = [str(n).encode() for n in range(9)]
    node = tree(leaves)
    for start in range(9):
        for end in range(start + 1, 10):
            if not merkle.is_subtree(start, end):
                continue
            root = merkle.root(node, start, end)
            assert root == oracle_root(leaves[start:end])
            inner = tree(leaves[start:end])
            for index in range(start, end):
                path = merkle.inclusion_path(inner, index - start, end - start)
                leaf = merkle.leaf_hash(leaves[index])
                assert merkle.subtree_inclusion_holds(leaf, index, start, end, path, root)


@st.composite
def _mutation(draw):
    size = draw(st.integers(1, 300))
    index = draw(st.integers(0, size - 1))
    return size, index, draw(st.sampled_from(["flip", "drop", "insert", "swap", "truncate"])), draw(st.randoms())


@given(_mutation())
def test_mutated_paths_are_refused(case):
    size, index, kind, random = case
    leaves = [str(n).encode() for n in range(size)]
    node = tree(leaves)
    whole = merkle.root(node, 0, size)
    earlier = index + 1
    inclusion, consistency = merkle.inclusion_path(node, index, size), merkle.consistency_path(node, earlier, size)
    roots = merkle.root(node, 0, earlier), whole
    leaf = merkle.leaf_hash(leaves[index])
    assert merkle.inclusion_holds(leaf, index, size, inclusion, whole)
    assert merkle.consistency_holds(earlier, roots[0], size, roots[1], consistency)
    for path, holds in (
        (inclusion, lambda p: merkle.inclusion_holds(leaf, index, size, p, whole)),
        (consistency, lambda p: merkle.consistency_holds(earlier, roots[0], size, roots[1], p)),
    ):
        mutated = _mutate(path, kind, random)
        if mutated != path:
            assert not holds(mutated)


def _mutate(path, kind, random):
    path = list(path)
    if kind == "insert":
        path.insert(random.randint(0, len(path)), random.choice([*path, bytes(32), b""]))
    elif path and kind == "flip":
        at, bit = random.randrange(len(path)), random.randrange(256)
        path[at] = (int.from_bytes(path[at]) ^ (1 << bit)).to_bytes(32)
    elif path and kind == "drop":
        del path[random.randrange(len(path))]
    elif len(path) > 1 and kind == "swap":
        path[0], path[-1] = path[-1], path[0]
    elif path and kind == "truncate":
        path[-1] = path[-1][:-1]
    return path
