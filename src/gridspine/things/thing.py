"""`Thing`: a device, plant or site."""

from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn

_MAX_TITLE = 200
_MAX_CONNECTION_BYTES = 16_384
_MAX_DEVICES = 100


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    """A device, plant or site: what it is (``model``), whose it is, how it is reached.

    ``adapter`` and ``connection`` say which adapter serves it and where; a Thing without an adapter is reached by
    the API only. ``devices`` are the principals that speak for it. ``first`` is the number of its first point,
    ``points`` are the names of all, in the order of their numbers. No secret is ever in
    ``connection``.
    """

    id: str
    organisation: str
    title: str
    model: str
    first: int = -1
    adapter: str = ""
    connection: dict[str, Any] = {}
    devices: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    created_us: int = 0

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= _MAX_TITLE:
            raise Invalid(f"title: 1 to {_MAX_TITLE} characters are needed")
        if len(msgspec.json.encode(self.connection)) > _MAX_CONNECTION_BYTES:
            raise Invalid("connection: too large")
        if len(self.devices) > _MAX_DEVICES or len(self.adapter) > _MAX_TITLE:
            raise Invalid(f"devices: at most {_MAX_DEVICES}; adapter: at most {_MAX_TITLE} characters")
        for device in self.devices:
            check_urn(device)
        if self.id:
            check_urn(self.id)
