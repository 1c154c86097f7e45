"""May this principal do this to that? Cedar answers, default deny, always with a reason."""
