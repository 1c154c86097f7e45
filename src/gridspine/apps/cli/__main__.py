"""``python -m gridspine.apps.cli`` is ``gridspine``."""

from gridspine.apps.cli.main import run

run()
