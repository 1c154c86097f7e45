"""History: a Delta table by day, asked with DuckDB. Both heavy engines run in child processes only."""
