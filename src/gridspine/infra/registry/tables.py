"""The registry's four tables, the same on SQLite and PostgreSQL."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

document = Table(
    "document",
    metadata,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("format", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("document_owner", "kind", "owner", "id"),
)

document_key = Table(
    "document_key",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("id", String, nullable=False),
    Index("document_key_id", "id"),
)

sequence = Table(
    "sequence",
    metadata,
    Column("name", String, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    # SQLite numbers rows by itself only in a plain INTEGER key.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("topic", String, nullable=False),
    Column("key", String, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
