"""Each rule of ``quality.toml`` is done by a test that exists, or says why not."""

import re
import tomllib
from pathlib import Path

import gridspine.adapters.mqtt


def test_rules_are_done_by_tests_or_say_why() -> None:
    path = Path(gridspine.adapters.mqtt.__file__).parent / "quality.toml"
    for name, rule in tomllib.loads(path.read_text())["rules"].items():
        if rule["status"] != "done":
            assert rule["status"] in {"todo", "exempt"}, name
            assert len(rule["reason"]) > 20, name
            continue
        file, _, test = rule["test"].partition("::")
        source = (Path(__file__).parent / file).read_text()
        assert re.search(rf"def {test}\(", source), f"{name}: {rule['test']} does not exist"
