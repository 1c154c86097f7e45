"""``gridspine demo``: a node, three homes and two organisations, on this machine."""
