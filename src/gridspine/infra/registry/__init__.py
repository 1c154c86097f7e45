"""Standing data: versioned documents in transactions, with an outbox into the log."""
