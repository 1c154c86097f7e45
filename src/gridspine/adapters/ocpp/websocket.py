"""A WebSocket over a connection of the node's: text messages in and out, the codec being `websockets`'s.

::

    node's listener ─ bytes ─► ServerProtocol (handshake, frames, bounds) ─► text messages
                    ◄─ bytes ─
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Literal

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gridspine.things.adapter import WireTrace

_CHUNK_BYTES = 65_536
_QUIET = logging.getLogger(f"{__name__}.codec")
_QUIET.setLevel(logging.WARNING)
"""What the codec would log are headers, and a password is in one of them."""


class Closed(Exception):
    """The connection is over."""


class WebSocket:
    """One connection: first `request`, then `accept` or `reject`, then messages."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        subprotocols: list[str],
        *,
        max_message_bytes: int,
        trace: WireTrace,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._trace = trace
        self._path = ""
        self._ours = subprotocols
        self._protocol = ServerProtocol(
            subprotocols=[Subprotocol(one) for one in subprotocols],
            select_subprotocol=lambda _, offered: self._select(offered),
            max_size=max_message_bytes,
            logger=_QUIET,
        )
        self._parts: list[bytes] = []
        self._messages: list[bytes] = []
        self.heard = 0
        """How often anything was received; whoever watches compares."""

    @property
    def subprotocol(self) -> str | None:
        """What both agreed on."""
        return self._protocol.subprotocol

    @property
    def certificate(self) -> bytes | None:
        """The client's certificate (DER), None without one."""
        tls = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) if tls is not None else None

    @property
    def address(self) -> str:
        """The address of the other side, without its port."""
        return str((self._writer.get_extra_info("peername") or ("?",))[0])

    @property
    def peer(self) -> str:
        """The address of the other side, for logs."""
        host, port, *_ = self._writer.get_extra_info("peername") or ("?", 0)
        return f"{host}:{port}"

    async def request(self) -> Request:
        """Return the request that opens the connection; raise `Closed` when there is none."""
        while True:
            await self._read()
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    return event
            if self._protocol.handshake_exc is not None:
                raise Closed(f"no request: {self._protocol.handshake_exc}")

    async def accept(self, request: Request) -> bool:
        """Answer the request; False when it was no good, and was told so."""
        response = self._protocol.accept(request)
        self._path = request.path[:100]
        self._show(
            "note", f"{response.status_code} for {request.headers.get('Sec-WebSocket-Protocol', 'no')} subprotocol"
        )
        self._protocol.send_response(response)
        await self._flush()
        return response.status_code == HTTPStatus.SWITCHING_PROTOCOLS

    async def reject(self, status: HTTPStatus, words: str, headers: dict[str, str] | None = None) -> None:
        """Refuse the request."""
        response: Response = self._protocol.reject(status, f"{words}\n")
        self._show("note", f"refused: {status.value} {words}")
        for name, value in (headers or {}).items():
            response.headers[name] = value
        self._protocol.send_response(response)
        await self._flush()

    async def receive(self) -> bytes:
        """Return the next text message; raise `Closed` at the end."""
        while not self._messages:
            if self._protocol.state is not State.OPEN:
                raise Closed(self._why())
            await self._read()
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._on_frame(event)
            await self._flush()
        message = self._messages.pop(0)
        self._show("in", message)
        return message

    async def send(self, data: bytes) -> None:
        """Send a text message; raise `Closed` when nobody is there."""
        if self._protocol.state is not State.OPEN:
            raise Closed(self._why())
        self._show("out", data)
        self._protocol.send_text(data)
        await self._flush()

    async def ping(self) -> None:
        """Ask for a sign of life."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            await self._flush()

    async def close(self, code: CloseCode, reason: str) -> None:
        """Say good-bye; nobody waits until that is read, nor for the other side's own."""
        if self._protocol.state is State.OPEN:
            self._show("note", f"closed: {code.value} {reason}")
            self._protocol.send_close(code, reason[:120])
            await self._flush(drain=False)

    def abort(self) -> None:
        """Close without another word."""
        self._writer.transport.abort()

    def _show(self, direction: Literal["in", "out", "note"], said: bytes | str) -> None:
        if self._trace.on:
            self._trace(direction, said, peer=f"{self._path} {self.peer}".lstrip())

    def _select(self, offered: object) -> Subprotocol | None:
        # None is no error: the handshake is completed without one, and the connection closed (OCPP-J 1.6 §3.1.2).
        names = set(offered) if isinstance(offered, (list, tuple)) else set()
        return next((Subprotocol(one) for one in self._ours if one in names), None)

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "OCPP is text")
        elif frame.opcode in {Opcode.TEXT, Opcode.CONT}:
            if frame.data:  # of empty ones any number would fit into what a message may have
                self._parts.append(bytes(frame.data))
            if frame.fin:
                self._messages.append(b"".join(self._parts))
                self._parts.clear()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_CHUNK_BYTES)
        except OSError as error:
            raise Closed(str(error)) from error
        self.heard += 1
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
            if self._protocol.state is State.CONNECTING:
                raise Closed("closed before a request came")

    async def _flush(self, *, drain: bool = True) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._writer.write(data)
                elif self._writer.can_write_eof():
                    self._writer.write_eof()
            if drain:
                await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Closed(str(error)) from error

    def _why(self) -> str:
        return f"closed, {self._protocol.close_code}" if self._protocol.close_code else "closed"
