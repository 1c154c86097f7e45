"""Bring a registry's tables to this release's form."""

from sqlalchemy import Connection, inspect, text

from gridspine.kernel.errors import Conflict

HEAD = "0001"
"""The newest migration (a test compares it with the scripts)."""


def current_revision(connection: Connection) -> str | None:
    """Return the revision the tables are in, None when there are none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(connection: Connection) -> None:
    """Apply what is missing; raise `Conflict` when the tables come from a newer release."""
    found = current_revision(connection)
    if found == HEAD:
        return
    # Alembic takes a third of a second to import: only when there is something to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "gridspine.infra.registry:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        if found is not None:
            ScriptDirectory.from_config(config).get_revision(found)
    except CommandError as error:
        raise Conflict(f"the registry is in form {found}, newer than this release knows ({HEAD}): upgrade") from error
    command.upgrade(config, "head")
