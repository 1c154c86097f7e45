"""The command line ``gridspine``."""
