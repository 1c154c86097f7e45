"""The web framework as the node uses it."""

import subprocess
import sys

HEAVY = ("pydantic", "attrs", "duckdb", "deltalake", "pandas", "pvlib", "rdflib", "alembic")
ASKED = f"""
import sys
from gridspine.apps.cli.reference import described_app
assert described_app().openapi_schema.paths
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_the_api_imports_no_engine_and_no_models_of_others() -> None:
    found = subprocess.run([sys.executable, "-c", ASKED], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
