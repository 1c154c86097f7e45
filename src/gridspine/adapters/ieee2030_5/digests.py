"""What tells one state of subscribed resources from another; rendered anew only where what it is of is another.

::

    subscriptions to a resource ─► view as last time, or what is assigned as last time ─► the digest of last time
                                   else rendered, once for all of a client's subscriptions to it
"""

from typing import NamedTuple

from gridspine.adapters.ieee2030_5.metering import meter_of
from gridspine.adapters.ieee2030_5.record import Subscription
from gridspine.adapters.ieee2030_5.tree import digest_of
from gridspine.adapters.ieee2030_5.view import ClientView


class _Known(NamedTuple):
    view: ClientView
    basis: object
    digest: bytes


class Digests:
    """The digests of all clients' subscribed resources; what nobody asks for between two `turn` is forgotten."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], _Known] = {}
        self._now: dict[tuple[str, str], _Known] = {}

    def of(self, view: ClientView, one: Subscription) -> bytes:
        """Return what tells one state of a subscription's resource from another (SHA-256)."""
        if meter_of(one):
            return digest_of(view, one)  # a reading is small, and not the view's
        key = (view.lfdi, one.resource)
        known, basis = self._now.get(key) or self._before.get(key), _basis(view, one)
        if known is None or not (known.view is view or (basis is not None and known.basis == basis)):
            known = _Known(view, basis, digest_of(view, one))
        self._now[key] = _Known(view, basis, known.digest)
        return known.digest

    def turn(self) -> None:
        """Forget what nobody asked for since the last time."""
        self._before, self._now = self._now, {}


def _basis(view: ClientView, one: Subscription) -> object:
    """Return all that a resource of what is assigned is rendered of, None for any other resource: they are short."""
    match one.resource[len(view.settings.path) + 1 :].split("/"):
        case ["edev", key, "fsa", *_] if (found := view.device(key)) is not None:
            return found.device, found.assignments, view.rates
    return None
