"""The OpenADR 3 `Adapter`: a VTN over the node's programmes, and a VEN of each VTN that a Thing follows."""

import asyncio
import logging

import msgspec

from gridspine.adapters.openadr3 import event, program
from gridspine.adapters.openadr3.auth import Auth
from gridspine.adapters.openadr3.book import Book
from gridspine.adapters.openadr3.callback import Callbacks
from gridspine.adapters.openadr3.followed import FollowedVtns
from gridspine.adapters.openadr3.notifier import Notifier
from gridspine.adapters.openadr3.reported import Reported
from gridspine.adapters.openadr3.session import App
from gridspine.adapters.openadr3.settings import Settings
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import Operation
from gridspine.energy.control_port import Change, controls_of
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.kernel.errors import GridspineError
from gridspine.things.adapter import AdapterContext
from gridspine.things.adapter_settings import read_section

_ONLY_SPEAKS = "the OpenADR 3 adapter speaks of programmes: its Things take no orders"
_LOG = logging.getLogger(__name__)


class OpenAdr3Adapter:
    """A VTN of OpenADR 3.1.0 and 3.0.1."""

    name = "openadr3"

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong."""
        settings = read_section(self.name, context.settings, Settings)
        controls = controls_of(context)
        book = Book(context.store)
        await book.load()
        vtn = Vtn(book, controls, context.clock)
        callbacks, notifier = Callbacks(vtn, context, settings), Notifier(vtn, context, settings)
        reported = Reported(context)
        followed, vtn.take = FollowedVtns(context, settings, reported), reported.take
        app = App(vtn, context, Auth(context, controls, settings.token_s), followed.notified)
        async with asyncio.TaskGroup() as group:
            group.create_task(callbacks.run())
            group.create_task(notifier.run())
            group.create_task(_follow(vtn, followed))
            group.create_task(_refuse_orders(context))
            group.create_task(_read_soon(context, followed))
            group.create_task(followed.run())
            await context.serve("http", app)


async def _follow(vtn: Vtn, followed: FollowedVtns) -> None:
    """Tell of what others change: the node's own API, its commands, other protocols."""
    while True:
        async for change in vtn.controls.changes():
            if isinstance(change.document, ProgrammeEnrolment):
                followed.opted(change.document.id)
                continue
            async with vtn.writing:  # what a request changed is noted before it lets go
                try:
                    await _take(vtn, change)
                except GridspineError as error:  # no room: who asks is told what the nouns say all the same
                    _LOG.warning("a change of %s was not told: %s", change.document.id, error.detail)
        vtn.done.clear()  # what was lost takes nothing from it any more
        _LOG.warning("changes of programmes came too fast: some were not told")


async def _take(vtn: Vtn, change: Change) -> None:
    document = change.document
    if not isinstance(document, Programme | ProgrammeEvent):
        return
    if (document.id, document.version) in vtn.done:
        vtn.done.discard((document.id, document.version))
        return
    known = vtn.book.of_noun(document.id)
    ended = document.retired_us if isinstance(document, Programme) else document.cancelled_us
    if known is not None and document.version == 1:
        return  # made for a request
    if isinstance(document, Programme):
        vtn.note(document.id)
        record = program.record_of(vtn, document)
    else:
        record = event.record_of(vtn, document)
    if known is not None:
        record = msgspec.structs.replace(record, modified_us=vtn.clock.now_us())
    if ended and known is not None:
        await vtn.gone([record])
    elif known is not None:
        await vtn.kept(record, "UPDATE")
    else:
        operation: Operation = "DELETE" if ended else "CREATE" if document.version == 1 else "UPDATE"
        vtn.tell(record, operation, vtn.guard(record))


async def _refuse_orders(context: AdapterContext) -> None:
    async for order in context.orders():
        await context.progress(order.command, "rejected", _ONLY_SPEAKS, sequence=order.sequence)


async def _read_soon(context: AdapterContext, followed: FollowedVtns) -> None:
    async for request in context.reads():
        context.read_ended(request.id, "" if followed.read_soon(request.thing) else "no VTN is followed for this Thing")
