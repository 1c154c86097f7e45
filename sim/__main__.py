"""``python -m sim``."""

import sys

from sim.command import main

sys.exit(main())
