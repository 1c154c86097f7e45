"""Topics of the log have one name each, where their noun lives: a literal elsewhere would not change with it."""

import ast
from pathlib import Path

import pytest

from gridspine.apps.node.topics import TOPICS

SOURCE = Path(__file__).parents[2] / "src" / "gridspine"
NAMES = {topic.name for topic in TOPICS}
OF_THE_LOG = {"Record", "Stored", "Position", "Topic", "bounds", "emit", "follow", "read", "scan", "trim"}
"""What takes a topic among its arguments."""


def literals(text):
    """Return the lines of ``text`` where a topic stands as a literal."""
    if not any(f'"{name}"' in text for name in NAMES):
        return []
    found, tree = [], ast.parse(text)
    body = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = getattr(node.func, "attr", getattr(node.func, "id", ""))
            places = node.args if named in OF_THE_LOG else []
            places = places + [one.value for one in node.keywords if one.arg in {"topic", "topics"}]
        elif isinstance(node, ast.Compare) and any(_is_topic(one) for one in [node.left, *node.comparators]):
            places = node.comparators
        elif node in body and any(_is_constant(target) for target in _targets(node)):
            places = [node.value]
        else:
            continue
        found += [one.lineno for place in places for one in _flat(place) if _names_topic(one)]
    return sorted(set(found))


def _is_topic(node):
    return getattr(node, "attr", getattr(node, "id", "")) in {"topic", "name_of_topic"}


def _targets(node):
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


def _is_constant(target):
    """Whether a name, or one of several, is that of a topic: ``LEDGER``, ``ITS_TOPIC``."""
    names = {getattr(one, "id", "") for one in _flat(target)}
    return any(name.strip("_").lower() in NAMES or "TOPIC" in name.upper() for name in names)


def _flat(node):
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return [one for item in node.elts for one in _flat(item)]
    if isinstance(node, ast.Dict):
        return [one for item in [*node.keys, *node.values] if item is not None for one in _flat(item)]
    return [node]


def _names_topic(node):
    return isinstance(node, ast.Constant) and node.value in NAMES


def test_each_topic_is_named_once():
    found = {
        str(path.relative_to(SOURCE)): lines for path in SOURCE.rglob("*.py") if (lines := literals(path.read_text()))
    }
    homes = {name: len(lines) for name, lines in found.items()}
    assert homes == {
        "apps/node/authority.py": 1,
        "infra/log/topics.py": 4,
        "things/alarm.py": 1,
        "things/command.py": 1,
        "things/held.py": 1,
        "things/quarantine.py": 1,
    }, f"import the topic's name instead: {found}"


@pytest.mark.parametrize(
    "planted",
    [
        'LEDGER = "ledger"',
        'COMMANDS, LEDGER = "commands", LEDGER',
        'TOPIC_OF = {"alarm": "alarms"}',
        'log.bounds("readings")',
        'log.follow("group", ["commands"])',
        'tx.emit("events", "key", event)',
        'Identity(registry, topic="ledger")',
        'if record.position.topic == "alarms": pass',
        '_TOPICS: tuple[str, ...] = ("audit",)',
    ],
)
def test_what_is_planted_is_found(planted):
    assert literals(planted) == [1]
