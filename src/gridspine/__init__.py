"""gridspine: an open energy services node.

Rooms, and who may know whom: ``kernel <- infra <- {things, sharing} <- energy <- apps``. Adapters know
``kernel``, ``infra.runtime`` and ``things.adapter`` and arrive by entry point. ``ARCHITECTURE.md`` has the plan.
"""

from importlib.metadata import version

__version__ = version("gridspine")
