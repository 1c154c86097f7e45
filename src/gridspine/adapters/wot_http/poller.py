"""Reads the points of one Thing when they are due: one request for each address, whatever it answers picked apart."""

import asyncio
import logging
from typing import Any, NamedTuple

import msgspec

from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.adapters.wot_http.shared import Listing, Shared
from gridspine.adapters.wot_http.wire import Form, decode_values, pick_values
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import AdapterContext, Binding

_LOG = logging.getLogger(__name__)
MIN_INTERVAL_S, MAX_BACKOFF_S = 1.0, 600.0
_MAX_TAG = 256


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ``connection`` of a binding: ``forms`` by point, read every ``interval_s`` [s], proven by ``security``.

    With ``listing`` an answer is of many devices, and this Thing's is the item whose key is ``item``: Things with the
    same address and secret are read by one request.
    """

    forms: dict[str, Form]
    security: Security = Security()
    interval_s: float = 60.0
    listing: Listing | None = None
    item: str = ""


class _Known(NamedTuple):
    """What an address answered, and the tag it had: asked again, it may say that it is still so."""

    tag: str
    values: dict[str, float | str]


Row = tuple[str, str, int, float, int]


def read_connection(connection: Any) -> Connection:
    """Return the connection of a binding; raise `Invalid` naming what is wrong."""
    try:
        found = msgspec.convert(connection, Connection)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    if found.listing is not None:
        found.listing.check()
        if not found.item or any(form.pick is None for form in found.forms.values()):
            raise Invalid("item: with a listing it is needed, and so is each form's pick")
    for name, form in found.forms.items():
        if form.pick is not None:
            try:
                form.pick.check()
            except Invalid as error:
                raise Invalid(f"forms: {name[:100]}: {error.detail}") from error
    return found


class Poller:
    """Reads the points of one Thing."""

    def __init__(
        self, context: AdapterContext, session: Session, shared: Shared, binding: Binding, connection: Connection
    ) -> None:
        self._context = context
        self._shared, self._listing, self._item = shared, connection.listing, connection.item
        self._session = session
        self._binding = binding
        self._security = connection.security
        self._interval_s = max(MIN_INTERVAL_S, connection.interval_s)
        self._said = self._partly = ""
        self._polling = asyncio.Lock()
        self._known: dict[str, _Known] = {}
        self._at: dict[str, dict[str, Form]] = {}
        for name, form in connection.forms.items():
            self._at.setdefault(form.href, {})[name] = form

    async def run(self) -> None:
        """Poll until cancelled; ever more slowly while nothing answers."""
        # Things that were registered together are not read together.
        await self._context.clock.sleep(self._interval_s * self._context.clock.randbytes(1)[0] / 2560)
        pause_s = self._interval_s
        while True:
            try:
                problem = await self.poll()
                self._say(problem or self._partly)
                longest_s = max(self._interval_s, MAX_BACKOFF_S)
                pause_s = self._interval_s if not problem else min(max(pause_s * 2, self._interval_s), longest_s)
            except Overloaded as refusal:
                self._say(refusal.detail)
                pause_s = max(self._interval_s, float(refusal.retry_after_s))
            except GridspineError as refusal:
                self._say(refusal.detail)
            await self._context.clock.sleep(pause_s)

    async def poll(self, names: tuple[str, ...] = ()) -> str:
        """Read points and hand in what came; return what went wrong where nothing did.

        Raises `Overloaded` when nothing came because less is to be asked.
        """
        async with self._polling:
            wanted = [href for href, forms in self._at.items() if not names or not forms.keys().isdisjoint(names)]
            found = await asyncio.gather(*(self._ask(href, names) for href in wanted))
        rows = [row for came, _, _ in found for row in came]
        problems = [words for _, said, _ in found for words in said]
        refusal = next((refusal for _, _, refusal in found if refusal is not None), None)
        if rows:
            await self._context.intake(named_readings(rows), self._context.source_of(self._binding.thing))
        if refusal is not None:
            raise refusal
        self._partly = problems[0] if problems and rows else ""
        return "" if rows or not problems else problems[0]

    async def _ask(self, href: str, names: tuple[str, ...]) -> tuple[list[Row], list[str], Overloaded | None]:
        """Return the readings that an address gives, what is wrong, and who asked for a pause."""
        forms, known = self._at[href], self._known.get(href)
        if self._listing is not None:
            return await self._ask_listing(href, self._listing, names)
        try:
            answer = await self._session.get(
                href, self._security, self._binding.organisation, known.tag if known else ""
            )
        except Overloaded as refusal:
            return [], [], refusal
        except (Invalid, Unavailable) as error:
            return [], [f"{next(iter(forms))}: {error.detail}"], None
        # The device gives no time with its value: it is as old as its answer.
        now_us = self._context.clock.now_us()
        if answer.status == 304 and known is not None:
            values = known.values
        else:
            values = decode_values(answer.body, answer.media_type, forms)
            self._known.pop(href, None)
            tag = answer.headers.get("etag", "")
            if 0 < len(tag) <= _MAX_TAG:
                self._known[href] = _Known(tag, values)
        return (*self._rows(values, forms, names, now_us), None)

    async def _ask_listing(
        self, href: str, listing: Listing, names: tuple[str, ...]
    ) -> tuple[list[Row], list[str], Overloaded | None]:
        """Return what `_ask` does, of the item of a listing that is this Thing's."""
        forms = self._at[href]
        # Things that were registered together ask within a tenth of their interval; who asks now wants it newer.
        max_age_s = min(5.0, self._interval_s / 2) if names else self._interval_s / 2
        try:
            items = await self._shared.get(href, self._security, self._binding.organisation, listing, max_age_s)
        except Overloaded as refusal:
            return [], [], refusal
        except (Invalid, Unavailable) as error:
            return [], [f"{next(iter(forms))}: {error.detail}"], None
        if self._item not in items:
            return [], [f"{self._item[:60]} is not among what the account has: {len(items)} items"], None
        item = items[self._item]
        return (*self._rows(pick_values(item.value, forms), forms, names, item.at_us), None)

    def _rows(
        self, values: dict[str, float | str], forms: dict[str, Form], names: tuple[str, ...], now_us: int
    ) -> tuple[list[Row], list[str]]:
        wanted = {name: value for name, value in values.items() if not names or name in names}
        rows = [
            (point_id(self._binding.thing, name), forms[name].unit, now_us, value, 0)
            for name, value in wanted.items()
            if not isinstance(value, str)
        ]
        return rows, [f"{name}: {value}" for name, value in wanted.items() if isinstance(value, str)]

    def _say(self, problem: str) -> None:
        """Log what is wrong once, and that it is over."""
        if problem == self._said:
            return
        _LOG.warning("%s: %s", self._binding.thing, problem or "answers again")
        self._said = problem
