"""The edge's settings: one TOML file, ``edge.toml``."""

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gridspine.kernel.errors import Invalid, NotFound

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of an edge.

    node: the node's address, such as https://node.example:8643; plain HTTP to this machine only.
    key: the client file that proves who the edge is (`gridspine client`), readable by its owner only.
    data: folder for orders and readings; made when it is missing.
    ca: PEM file of the authority that the node's certificate is checked by; empty for the system's.
    node_key: thumbprint of the key by which the node signs rules; empty takes the first it shows, and no other after.
    adapters: adapters that may run here.
    max_bytes: readings kept for the node at most [bytes]; when they are reached, new ones are refused.
    keep_days: readings older than this are dropped although the node does not have them [days]; 0 never does.
    reserve_bytes: what is left free on the disk, for orders [bytes]; a quarter as much is taken beforehand, and given
        back when others have filled the disk.
    batch: readings sent at once, about.
    log_level: debug, info, warning or error.
    log_json: whether logs are JSON.
    settings: a section for each adapter, as at the node.
    """

    node: str
    key: str
    data: str
    ca: str = ""
    node_key: str = ""
    adapters: tuple[str, ...] = ("modbus",)
    max_bytes: int = 256 << 20
    keep_days: float = 0.0
    reserve_bytes: int = 16 << 20
    batch: int = 5_000
    log_level: str = "info"
    log_json: bool = False
    settings: dict[str, dict[str, Any]] = {}

    def check(self) -> None:
        """Raise `Invalid` naming the setting that is wrong."""
        parts = urlsplit(self.node)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise Invalid("node: plain HTTP is for this machine only; name an https:// address")
        if self.max_bytes < 1 << 20 or self.reserve_bytes < 0 or self.keep_days < 0 or not 0 < self.batch <= 100_000:
            raise Invalid("max_bytes is at least 1 MiB, batch 1 to 100000; the others are not negative")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise Invalid("log_level is debug, info, warning or error")


def load_edge_settings(path: Path) -> EdgeSettings:
    """Read ``path``; relative paths in it are meant from its folder. Raises `NotFound` or `Invalid`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no settings file {path}: name one with --settings") from None
    try:
        settings = msgspec.convert(tomllib.loads(text), EdgeSettings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from error
    settings.check()
    beside = {name: str(path.parent / value) for name in ("key", "data", "ca") if (value := getattr(settings, name))}
    return msgspec.structs.replace(settings, **beside)
