"""One file a step, applied in order of ``down_revision``."""
