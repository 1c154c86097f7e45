"""What every room runs on: clock, supervised tasks, bounded queues, settings, logs, metrics."""
