"""An append-only Merkle log with signed checkpoints and receipts that verify offline."""
