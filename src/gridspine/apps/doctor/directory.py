"""The data directory itself: who may look in, its format, its lock, the room around it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage

from gridspine.apps.doctor.report import Line, Patient, fail, ok, warn
from gridspine.apps.node.paths import Paths
from gridspine.infra.runtime.datadir import FORMAT

_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"}
_VOLATILE = {"tmpfs", "ramfs"}


def look(patient: Patient) -> Iterator[Line]:
    """Yield what there is to say of the data directory."""
    yield _permissions(patient.data)
    yield _format(patient.data)
    yield _lock(patient)
    yield _room(patient)
    yield _file_system(patient.data)
    yield from _keys(patient.data)


def _permissions(data: Path) -> Line:
    about = data.stat()
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o077:
        return fail("data directory", f"others can look into {data} (mode {mode:o})", f"chmod 700 {data}")
    if about.st_uid != os.geteuid() and os.geteuid() != 0:
        return fail("data directory", f"{data} belongs to user {about.st_uid}, you are {os.geteuid()}",
                    "run this as the user that runs the node")  # fmt: skip
    return ok("data directory", f"{data}, its owner's alone")


def _format(data: Path) -> Line:
    try:
        text = Paths(data).format.read_text().strip()
    except FileNotFoundError:
        return fail("format", f"{data} has no file 'format'", "is it a data directory? 'gridspine init' makes one")
    if not text.isdigit():
        return fail("format", "the file 'format' holds no number", "restore a backup: the directory is damaged")
    if int(text) > FORMAT:
        return fail("format", f"the data has format {text}, this release knows {FORMAT}", "upgrade gridspine")
    return ok("format", text)


def _lock(patient: Patient) -> Line:
    address = Paths(patient.data).address
    if patient.running:
        return ok("node", f"runs, at {address.read_text().strip()}" if address.exists() else "is starting or stopping")
    if address.exists():
        return warn("node", "does not run, and did not end properly", "start it: the log is taken up where it ended")
    return ok("node", "does not run")


def _room(patient: Patient) -> Line:
    free, reserve = disk_usage(patient.data).free, patient.settings.log.reserve_bytes
    words = f"{free / 2**30:.1f} GiB free where the data is"
    if free < 2 * reserve:
        return fail("disk", words, "free some room: readings are refused when it is nearly full")
    if free < 10 * reserve:
        return warn("disk", words, "free some room soon, or move to a larger disk")
    return ok("disk", words)


def _file_system(data: Path) -> Line:
    kind = file_system(data, Path("/proc/mounts"))
    if kind in _REMOTE:
        return fail("file system", f"the data is on {kind}: locks and syncs are not what they promise there",
                    "move the data directory to a local disk")  # fmt: skip
    if kind in _VOLATILE:
        return fail("file system", f"the data is on {kind}: it is gone with the power", "move it to a disk")
    return ok("file system", kind or "unknown")


def file_system(path: Path, mounts: Path) -> str:
    """Return the kind of the file system that ``path`` is on, by the table ``mounts``; "" when it does not say."""
    found, longest = "", -1
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        place = Path(fields[1].replace("\\040", " "))
        if path.resolve().is_relative_to(place) and len(place.parts) >= longest:
            found, longest = fields[2], len(place.parts)
    return found


def _keys(data: Path) -> Iterator[Line]:
    open_to_others = [
        path.name
        for folder in (Paths(data).keys, Paths(data).clients)
        for path in sorted(folder.glob("*"))
        if path.suffix in {".pem", ".key", ".json"} and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        names = " ".join(open_to_others)
        yield fail("secrets", f"others can read {names}", "chmod 600 them, and replace what others may have read")
    else:
        yield ok("secrets", "keys and clients' files are their owner's alone")
