"""The webhook `Adapter`: which address is which Thing's, who may post there, and what a post is answered."""

import asyncio
import contextlib
import logging
import secrets
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from gridspine.adapters.webhook.replays import Replays
from gridspine.adapters.webhook.session import Post, Reply, converse
from gridspine.adapters.webhook.wire import (
    MIN_SECRET_CHARS,
    Hook,
    Told,
    answer_of,
    is_proven,
    made_us,
    mark_of,
    read_hook,
    read_post,
)
from gridspine.infra.runtime.address_count import AddressCount
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Binding
from gridspine.things.adapter_settings import read_section

_LOG = logging.getLogger(__name__)
_MAX_CONNECTIONS, _MAX_PER_ADDRESS = 256, 32
"""Connections at once, of all and of one address: one vendor does not take the places of the others."""
_COUNTS = ("received", "accepted", "suppressed", "duplicate", "refused")
_ONLY_TAKES = "the webhook adapter takes what a vendor posts and commands nothing"


class SecretUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's leave: for Things of which ``organisations``."""

    organisations: tuple[str, ...]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The adapter's section of the node's settings.

    ``webhook`` is its listener (``host``, ``port``, ``tls``, ``names``). ``secrets`` say for whose Things each may be
    named; the secrets themselves are environment variables ``GRIDSPINE_SECRET_WEBHOOK_<NAME>``, 16 characters or more.
    """

    webhook: dict[str, Any] = {}
    secrets: dict[str, SecretUse] = {}


class _Served(NamedTuple):
    binding: Binding
    hook: Hook
    secret: str


class WebhookAdapter:
    """Takes what vendors post about Things."""

    name = "webhook"

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}
        self._open = 0
        self._addresses = AddressCount(_MAX_PER_ADDRESS)
        # Who posts to no Thing is answered as one who proves nothing, after the same work.
        self._nobody = Hook("", {}), secrets.token_hex(32)

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled; raises `Invalid` when the settings are wrong."""
        settings = read_section(self.name, context.settings, Settings)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            address = str((writer.get_extra_info("peername") or ("unknown",))[0])
            if self._open >= _MAX_CONNECTIONS or not self._addresses.enter(address):
                writer.close()
                return
            self._open += 1
            try:
                await converse(reader, writer, lambda post, peer: self._answer(context, post, peer))
            finally:
                self._open -= 1
                self._addresses.leave(address)
                writer.close()

        self._replays = Replays(context.store)
        await self._replays.load()
        try:
            self._sync(context, settings)
            await context.listen("webhook", serve)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._refuse_orders(context))
                group.create_task(self._refuse_reads(context))
                while True:
                    self._sync(context, settings)
                    await context.bindings_changed()
        finally:
            self._served.clear()

    def _sync(self, context: AdapterContext, settings: Settings) -> None:
        served: dict[str, _Served] = {}
        for binding in context.bindings():
            known = self._served.get(binding.thing)
            if known is not None and known.binding == binding:
                served[binding.thing] = known
                continue
            try:
                hook = read_hook(binding.connection)
                served[binding.thing] = _Served(binding, hook, _secret(context, settings, hook, binding))
            except Invalid as error:
                _LOG.warning("%s cannot be served: %s", binding.thing, error.detail)
        self._served = served

    async def _refuse_orders(self, context: AdapterContext) -> None:
        async for order in context.orders():
            await context.progress(order.command, "rejected", _ONLY_TAKES, sequence=order.sequence)

    async def _refuse_reads(self, context: AdapterContext) -> None:
        async for request in context.reads():
            context.read_ended(request.id, "its vendor posts when it likes: it cannot be asked")

    async def _answer(self, context: AdapterContext, post: Post, peer: str) -> Reply:
        """Take a post, and let an operator who looks see what it is answered."""
        reply = await self._answered(context, post, peer)
        context.trace("out", lambda: f"{reply.status} {reply.body.decode()}", peer=peer)
        return reply

    async def _answered(self, context: AdapterContext, post: Post, peer: str) -> Reply:
        """Take a post: prove it, hand its readings in, and say what became of them, once they are durable."""
        served = self._served.get(unquote(post.target.partition("?")[0].removeprefix("/")))
        hook, secret = (served.hook, served.secret) if served else self._nobody
        said, timestamp = (post.headers.get(name.lower(), "") for name in (hook.header, hook.timestamp_header))
        told = Told(post.method, post.target, said, timestamp)
        proven = is_proven(hook, secret, told, post.body)
        if served is None or not proven:
            context.trace("note", f"{post.method}: refused, not proven", peer=peer)
            return _problem(403, "This post is not proven, or for no Thing here", close=True)
        if post.method not in {"POST", "PUT"}:
            return _problem(405, "POST is needed")
        context.trace("in", post.body, peer=peer)
        if not hook.guarded:
            return await self._take(context, served, post)
        return await self._take_once(context, served, post, told)

    async def _take_once(self, context: AdapterContext, served: _Served, post: Post, told: Told) -> Reply:
        """Take a post that was made just now and was not taken before; 409 says which it is."""
        thing, now_us, age_us = served.binding.thing, context.clock.now_us(), served.hook.max_age_s * US
        at_us = made_us(told.timestamp)
        if at_us is None or abs(now_us - at_us) > age_us:
            context.trace("note", "refused: made too long ago, or ahead of this clock")
            return _problem(409, f"Made too long ago, or ahead: {served.hook.max_age_s} s are allowed")
        mark = mark_of(told, post.body)
        if self._replays.has(thing, at_us, mark):
            context.trace("note", "refused: it was taken before")
            return _problem(409, "This post was taken before")
        try:
            await self._replays.take(thing, at_us, mark, now_us - age_us)
        except GridspineError as refusal:
            return _problem(503, refusal.title, retry_s=60)
        reply = await self._take(context, served, post)
        if reply.status >= 500:
            with contextlib.suppress(GridspineError):  # a disk without room: it can be sent again with a new time
                await self._replays.give_back(thing, at_us, mark)
        return reply

    async def _take(self, context: AdapterContext, served: _Served, post: Post) -> Reply:
        """Hand the readings of a proven post in, and say what became of them."""
        hook = served.hook
        readings = read_post(hook, served.binding.thing, post.body, context.clock.now_us())
        try:
            outcome = await context.intake(readings, context.source_of(served.binding.thing))
        except Overloaded as refusal:
            return _problem(503, "Too much at once: nothing was kept", retry_s=max(1, round(refusal.retry_after_s)))
        except GridspineError as refusal:
            return _problem(503 if refusal.status >= 500 else refusal.status, refusal.title, retry_s=60)
        if len(readings) == 0 and readings.problems:
            return _problem(400, readings.problems[0].detail)
        return Reply(200, answer_of({name: getattr(outcome, name) for name in _COUNTS}))


def _secret(context: AdapterContext, settings: Settings, hook: Hook, binding: Binding) -> str:
    use = settings.secrets.get(hook.secret)
    if use is None or binding.organisation not in use.organisations:
        raise Invalid(f"there is no secret {hook.secret[:60]!r} for Things of this organisation")
    secret = context.secrets.get(hook.secret, "")
    if len(secret) < MIN_SECRET_CHARS:
        raise Invalid(
            f"secret {hook.secret[:60]!r} is not set, or shorter than {MIN_SECRET_CHARS} characters: "
            f"GRIDSPINE_SECRET_WEBHOOK_{hook.secret.upper()[:60]}"
        )
    return secret


def _problem(status: int, title: str, *, retry_s: int = 0, close: bool = False) -> Reply:
    body = msgspec.json.encode({"title": title, "status": status})
    return Reply(status, body, "application/problem+json", retry_s, close)
