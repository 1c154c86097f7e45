"""One connection to an external broker: a gmqtt client that acknowledges late and never reconnects by itself."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from gridspine.adapters.mqtt.settings import Settings
from gridspine.things.adapter import Order

ORDERS_IN_FLIGHT = 64
SESSION_KEPT_S = 0xFFFF_FFFF
"""MQTT 5.0 §3.1.2.11.2: the session does not expire."""
VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}
_SUBSCRIPTION_FAILED = 0x80
_NEVER = -2
"""Reconnect retries of gmqtt: below what it counts from, so it never retries (0 would still retry once)."""

OnMessage = Callable[["Connection", str, bytes, int, dict[str, Any]], Awaitable[int]]


class LinkLost(Exception):
    """The connection to the broker is over."""


class _Unacknowledged:
    """gmqtt's store of unacknowledged publishes: it only says which one the broker took."""

    def __init__(self, taken: asyncio.Queue[int]) -> None:
        self.last = 0
        self._mids: set[int] = set()
        self._taken = taken

    def push_message(self, mid: int, raw_package: bytes) -> None:
        self._mids.add(mid)
        self.last = mid

    def remove_message_by_mid(self, mid: int) -> None:
        if mid in self._mids:
            self._mids.discard(mid)
            self._taken.put_nowait(mid)

    @property
    def is_empty(self) -> bool:
        return not self._mids

    def get_all(self) -> list[tuple[int, bytes]]:
        return []

    def clear(self) -> None:
        self._mids.clear()

    async def wait_empty(self) -> None:
        return


class _Noise(logging.Filter):
    """Drops what gmqtt says about a link that we closed on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "WRITE TO CLOSED SOCKET" not in text and "max number of failed connection" not in text


_gmqtt_log = logging.getLogger(f"{__name__}.gmqtt")
_gmqtt_log.addFilter(_Noise())
logging.getLogger("gmqtt.mqtt.protocol").addFilter(_Noise())


class Connection:
    """One gmqtt client and its connection: used once, never reconnected."""

    def __init__(self, settings: Settings, password: str | None, on_message: OnMessage) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken: asyncio.Queue[int] = asyncio.Queue()
        self.unacknowledged = _Unacknowledged(self.taken)
        self.window = asyncio.Semaphore(ORDERS_IN_FLIGHT)
        self.sent: dict[int, Order] = {}
        self.filters: set[str] = set()
        self.session_present = False
        self._granted = asyncio.Event()
        properties = {"session_expiry_interval": SESSION_KEPT_S, "receive_maximum": settings.receive_maximum}
        self.client: Any = gmqtt.Client(
            settings.client_id,
            clean_session=False,
            optimistic_acknowledgement=False,
            persistent_storage=self.unacknowledged,
            logger=_gmqtt_log,
            **(properties if settings.protocol == "5" else {}),
        )
        self.client.set_config({"reconnect_retries": _NEVER})
        if settings.username:
            self.client.set_auth_credentials(settings.username, password)
        self._listen(on_message)

    def lose(self, error: BaseException) -> bool:
        """Note why the link is over; False when that was known before."""
        if self.lost.done():
            return False
        self.lost.set_exception(error)
        return True

    async def granted(self) -> None:
        """Return when the first subscription is answered; raise why the link is lost when it is."""
        answered = asyncio.ensure_future(self._granted.wait())
        try:
            await asyncio.wait((answered, self.lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()
        if self.lost.done():
            self.lost.result()

    def _listen(self, take: OnMessage) -> None:
        async def on_message(_: Any, topic: Any, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
            return await take(self, str(topic), payload, qos, properties)

        def on_connect(_: Any, session_present: int, __: int, ___: Any) -> None:
            self.session_present = bool(session_present)

        def on_disconnect(_: Any, __: Any, exc: Any = None) -> None:
            self.lose(LinkLost("the broker closed the connection"))

        def on_subscribe(_: Any, __: int, granted: tuple[int, ...], ___: Any) -> None:
            if any(code >= _SUBSCRIPTION_FAILED for code in granted):
                self.lose(LinkLost(f"the broker refused a subscription: {granted}"))
            self._granted.set()

        self.client.on_message, self.client.on_connect = on_message, on_connect
        self.client.on_disconnect, self.client.on_subscribe = on_disconnect, on_subscribe


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of ``settings``, or None when they name no authority."""
    if not settings.ca_file:
        return None
    tls = ssl.create_default_context(cafile=settings.ca_file)
    if settings.certificate_file:
        tls.load_cert_chain(settings.certificate_file, settings.key_file or None)
    return tls
