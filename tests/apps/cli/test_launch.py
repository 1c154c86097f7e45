"""What `gridspine up` brings into its process, and what it does not."""

import subprocess
import sys

UNUSED = ("rich", "pygments", "typer", "httpx", "pydantic", "numpy.random", "gridspine.apps.cli.main")
STARTED = f"""
import sys
from gridspine.apps.cli import launch
sys.argv = ["gridspine", "up", "--data", "/dev/null/nowhere"]
import asyncio
asyncio.Runner = None  # no node is run: what is imported until then is asked
try:
    launch.run()
except (TypeError, SystemExit):
    pass
assert "gridspine.apps.node.run" in sys.modules, "the node was not imported"
print([name for name in {UNUSED} if sys.modules.get(name)])
"""


def test_a_node_imports_nothing_that_only_other_commands_need() -> None:
    found = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_a_wrong_option_of_up_is_told() -> None:
    words = [sys.executable, "-m", "gridspine.apps.cli", "up", "--colour"]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 2
    assert "--colour" in found.stderr
