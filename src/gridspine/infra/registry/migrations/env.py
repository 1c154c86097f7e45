"""Alembic's entry: runs the steps on the connection that the registry hands over."""

from alembic import context

from gridspine.infra.registry.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
