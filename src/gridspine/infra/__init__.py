"""Engines that know nothing of Things or energy: log, registry, archive, identity, policy, ledger, runtime."""
