"""pyarrow's Parquet without the clients of object stores that ``pyarrow.fs`` would load: a tenth of a small process.

Files are the data directory's own; where the table itself lies elsewhere, ``deltalake`` brings what it needs. Child
processes only.
"""

import sys

for _store in ("_s3fs", "_gcsfs", "_azurefs", "_hdfs"):
    sys.modules.setdefault(f"pyarrow.{_store}", None)  # type: ignore[arg-type]

import pyarrow.parquet as pq  # noqa: E402

__all__ = ["pq"]
