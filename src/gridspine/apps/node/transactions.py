"""Transactions at charging points: who plugged in when, register at start and end, signed values as they came.

They are kept by whoever serves the Thing, which is asked each time: it is no second store. A Thing has them when its
model names the actions ``transactions`` and ``signedValues``, and its adapter carries them out.
"""

from typing import Any

import msgspec

from gridspine.apps.node.requests import Requests
from gridspine.kernel.errors import Conflict, NotFound, TooLarge, Unavailable
from gridspine.things.action import ActionModel, actions_of
from gridspine.things.directory import Directory, Thing

MAX_SIGNED_BYTES, MAX_SIGNED_PAGES = 8 << 20, 1_000
_SERVICES = frozenset({"request"})


class TransactionView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One transaction; what is not known (yet) is left out.

    ``token`` is what it was authorised by. ``meter_start_wh``, ``meter_stop_wh`` [Wh] stand in the import register, and
    ``energy_wh`` [Wh] is their difference. ``missing`` messages of it never came; ``signed``: it has signed values.
    ``doubts``: what it says and cannot be so, such as *register-fell* (it then has no energy), *ended-before-it-began*,
    *clock-ahead*, *clock-behind* (it is in no bill then), *start-read-late* (what it took before the register was read
    first is not in its energy).
    """

    id: str
    evse: int | None = None
    token: str = ""
    started_at: str = ""
    stopped_at: str = ""
    meter_start_wh: float | None = None
    meter_stop_wh: float | None = None
    energy_wh: float | None = None
    state: str = ""
    reason: str = ""
    remote_start: int | None = None
    missing: int = 0
    signed: bool = False
    offline: bool = False
    doubts: list[str] = []


class TransactionPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Transactions, the newest first; ``next`` is the ``before`` of those that follow, 0 when there are none."""

    transactions: list[TransactionView]
    next: int = 0


class _SignedPage(msgspec.Struct, frozen=True):
    values: list[Any]
    next: int = 0


class Transactions:
    """Asks for transactions of Things."""

    def __init__(self, directory: Directory, requests: Requests) -> None:
        self._directory, self._requests = directory, requests

    def kept(self, thing: Thing) -> bool:
        """Whether transactions of ``thing`` can be asked for."""
        return self._find(thing, "transactions") is not None and self._requests.served(thing.adapter)

    async def page(self, thing: Thing, before: int = 0) -> TransactionPage:
        """Return transactions ``before`` this number, 0: the newest; raise `NotFound`, `Conflict`, `Unavailable`."""
        answer = await self._requests.ask(thing.id, self._action(thing, "transactions"), {"before": before}, "node")
        try:
            return msgspec.convert(answer, TransactionPage)
        except msgspec.ValidationError as error:
            raise Unavailable("its adapter's answer makes no sense") from error

    async def signed_values(self, thing: Thing, transaction: str) -> list[Any]:
        """Return the signed values of a transaction, as they came; raise as `page`, or `TooLarge`."""
        action = self._action(thing, "signedValues")
        values: list[Any] = []
        following, size = 0, 0
        for _ in range(MAX_SIGNED_PAGES):
            given = {"transaction": transaction, "from": following}
            try:
                page = msgspec.convert(await self._requests.ask(thing.id, action, given, "node"), _SignedPage)
            except Conflict as error:
                raise NotFound(error.detail) from error
            except msgspec.ValidationError as error:
                raise Unavailable("its adapter's answer makes no sense") from error
            values += page.values
            size += len(msgspec.json.encode(page.values))
            if size > MAX_SIGNED_BYTES:
                break
            if page.next <= following:
                return values
            following = page.next
        raise TooLarge(f"the signed values of this transaction have more than {MAX_SIGNED_BYTES >> 20} MiB")

    def _action(self, thing: Thing, name: str) -> ActionModel:
        found = self._find(thing, name)
        if found is None:
            raise Conflict(f"{thing.title} keeps no transactions: its model has no action {name}")
        return found

    def _find(self, thing: Thing, name: str) -> ActionModel | None:
        actions = actions_of(self._directory.model(thing), _SERVICES)
        return next((action for action in actions if action.name == name and action.safe), None)
