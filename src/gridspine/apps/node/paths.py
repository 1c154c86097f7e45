"""Where things lie in a data directory: every file and folder of it is named here."""

import os
from dataclasses import dataclass
from pathlib import Path

from gridspine.kernel.errors import Invalid

DATA_VARIABLE = "GRIDSPINE_DATA"
DATA_HELP = f"Data directory (default: ${DATA_VARIABLE}, else ~/.local/share/gridspine)."


@dataclass(slots=True)
class Paths:
    """Where things lie in the data directory."""

    root: Path

    @property
    def format(self) -> Path:
        """Which release's directory this is: what has this file is a data directory."""
        return self.root / "format"

    @property
    def lock(self) -> Path:
        """Held by the node that runs, with its process id."""
        return self.root / "lock"

    @property
    def ballast(self) -> Path:
        """Room kept back for when the disk is full."""
        return self.root / "ballast"

    @property
    def registry(self) -> Path:
        """Standing data."""
        return self.root / "registry.db"

    @property
    def log(self) -> Path:
        """The event log's folder."""
        return self.root / "log"

    @property
    def twins(self) -> Path:
        """The snapshot of the twins."""
        return self.root / "twins.npz"

    @property
    def things(self) -> Path:
        """The snapshot of the Things."""
        return self.root / "things.npz"

    @property
    def checkpoints(self) -> Path:
        """What topics say up to a point, so that a start need not read them from their beginning."""
        return self.root / "checkpoints"

    @property
    def emulators(self) -> Path:
        """What emulated devices have become."""
        return self.root / "emulators"

    @property
    def templates(self) -> Path:
        """The operator's own device templates, ``<name>.toml``."""
        return self.root / "templates"

    @property
    def agents(self) -> Path:
        """What the behaviours of twins remember."""
        return self.root / "agents.msgpack"

    @property
    def attachments(self) -> Path:
        """Files that belong to Things, by their hashes."""
        return self.root / "attachments"

    @property
    def histories(self) -> Path:
        """What was said of each Thing, found by Thing."""
        return self.root / "history.db"

    @property
    def ledger(self) -> Path:
        """The ledger's hashes."""
        return self.root / "ledger.db"

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.root / "keys"

    @property
    def issuer(self) -> Path:
        """The name this node's tokens are issued under."""
        return self.root / "issuer"

    @property
    def clients(self) -> Path:
        """Client files made on this machine."""
        return self.root / "clients"

    @property
    def address(self) -> Path:
        """Where the running node is reached; there while it runs."""
        return self.root / "address"

    @property
    def archive(self) -> Path:
        """History."""
        return self.root / "archive"


def data_directory(given: Path | None) -> Path:
    """Return the data directory to use; raise `Invalid` where a file is named."""
    named = given or os.environ.get(DATA_VARIABLE)
    chosen = Path(named) if named else Path.home() / ".local" / "share" / "gridspine"
    if chosen.is_file():
        raise Invalid(f"{chosen} is a file: a data directory is needed (--data, or {DATA_VARIABLE})")
    return chosen


def settings_file(data: Path) -> Path | None:
    """Return the settings file of a data directory, None when there is none."""
    path = data / "settings.toml"
    return path if path.exists() else None
