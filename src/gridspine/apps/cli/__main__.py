"""``python -m gridspine.apps.cli`` is ``gridspine``."""

from gridspine.apps.cli.launch import run

run()
