"""What emulated devices have become, in files: a cohort goes on after a restart where it was."""

from collections.abc import Collection
from pathlib import Path

import structlog

from gridspine.infra.runtime.durable import make_folder, write_whole

_END = ".npz"
log = structlog.get_logger(__name__)


class EmulatedStates:
    """A file for each cohort in ``folder``. All of it blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, cohort: str) -> bytes:
        """Return what was kept of a cohort, b"" when nothing was, or it cannot be read."""
        try:
            return self._path(cohort).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("what emulated devices had become cannot be read", cohort=cohort, why=str(error))
            return b""

    def save(self, cohort: str, state: bytes) -> None:
        """Keep the state of a cohort; without room it stays as it was kept before."""
        try:
            make_folder(self._folder, mode=0o700)
            write_whole(self._path(cohort), state)
        except OSError as error:
            log.warning("what emulated devices have become could not be kept", cohort=cohort, why=str(error))

    def keep_only(self, cohorts: Collection[str]) -> None:
        """Forget the states of all other cohorts."""
        wanted = {self._path(cohort) for cohort in cohorts}
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if path not in wanted:
                path.unlink(missing_ok=True)

    def _path(self, cohort: str) -> Path:
        return self._folder / f"{cohort.rpartition(':')[2]}{_END}"
