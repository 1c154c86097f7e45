"""The link to the node: what it says comes by one stream; readings and reports go up. All opened from here.

::

    down   connect ─► Hello, Serve, Deliver … ─► handlers ─ broken ─► wait 0.5 s, doubling to 30 s ─► connect
    up     report when there is news ─► live readings ─► the oldest that waits, as backfill ─► again
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from gridspine.apps.edge.buffer import Buffer, Posting
from gridspine.apps.edge.http import NodeHttp
from gridspine.apps.edge.wire import BEAT_S, MAX_LINE_BYTES, Down, Report
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError, Unavailable

SENML = {"content-type": "application/senml+json"}
REPORT_S = 30.0
"""A report goes up at least this often [s]."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_IDLE_S, _SPREAD = 0.25, 0.5
log = structlog.get_logger(__name__)


class Link:
    """Talks to the node until cancelled: run `down` and `up` as tasks."""

    def __init__(
        self,
        http: NodeHttp,
        buffer: Buffer,
        clock: Clock,
        hear: Callable[[Down], Awaitable[None]],
        report: Callable[[], Awaitable[Report]],
        reported: Callable[[Report], Awaitable[None]],
        *,
        batch: int,
    ) -> None:
        """``hear`` takes each message; ``report`` says what to report, and ``reported`` that the node has it."""
        self._http, self._buffer, self._clock = http, buffer, clock
        self._hear, self._report, self._reported, self._batch = hear, report, reported, batch
        self._decoder: msgspec.json.Decoder[Down] = msgspec.json.Decoder(Down)
        self.news = asyncio.Event()
        """Set when a report should not wait."""
        self.connected = False
        self.error = ""
        """Why the node is not reached; "" when it is."""

    async def down(self) -> None:
        """Hear what the node says; connect again whenever that ends."""
        wait_s = _FIRST_WAIT_S
        while True:
            heard = 0
            try:
                async for line in self._http.lines("/edge/orders", silence_s=3 * BEAT_S, max_bytes=MAX_LINE_BYTES):
                    await self._take(line)
                    heard += 1
                    self.connected, self.error = True, ""
                raise Unavailable("the node ended the stream")
            except GridspineError as error:
                if self.connected or error.detail != self.error:
                    log.warning("no link to the node; orders go on, readings wait", why=error.detail)
                self.connected, self.error = False, error.detail
            wait_s = _FIRST_WAIT_S if heard else min(2 * wait_s, _LONGEST_WAIT_S)
            # Edges that lost the same node do not all come back at the same moment.
            share = int.from_bytes(self._clock.randbytes(2), "big") / 65_536
            await self._clock.sleep(wait_s * (1 - _SPREAD * share))

    async def up(self) -> None:
        """Report and send what waits; try again for as long as it takes."""
        wait_s, due_us = 0.0, 0
        while True:
            try:
                if self.news.is_set() or self._clock.monotonic_us() >= due_us:
                    self.news.clear()
                    await self._send_report()
                    due_us = self._clock.monotonic_us() + round(REPORT_S * 1e6)
                busy = await self._send_readings()
                wait_s = 0.0
                if not busy:
                    await self._clock.sleep(_IDLE_S)
            except GridspineError as error:
                self.news.set()
                log.debug("nothing can be sent up", why=error.detail)
                wait_s = min(max(2 * wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
                await self._clock.sleep(wait_s)

    async def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = self._decoder.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            # A newer node may say more than is understood here; what was understood holds.
            log.warning("the node said what is not understood here", why=str(error)[:200])
            return
        await self._hear(message)

    async def _send_report(self) -> None:
        report = await self._report()
        answer = await self._http.post(
            "/edge/report", msgspec.json.encode(report), {"content-type": "application/json"}
        )
        if answer.status != 200:
            raise Unavailable(f"the node took no report ({answer.status}): {answer.detail}")
        await self._reported(report)

    async def _send_readings(self) -> bool:
        """Send what is live, else the oldest that waits; return whether there was anything."""
        live = await self._buffer.live(self._batch)
        postings = live or (await self._buffer.oldest(self._batch) if self._buffer.waiting else [])
        if not postings:
            return False
        await self._send(postings, backfill=not live)
        return True

    async def _send(self, postings: Sequence[Posting], *, backfill: bool) -> None:
        body = senml(postings)
        headers = SENML | ({"backfill": "true"} if backfill else {})
        answer = await self._http.post("/readings", body, headers)
        if answer.status in {400, 413, 415, 422} and len(postings) > 1:
            for one in postings:  # one of them may be what it does not like
                await self._send([one], backfill=backfill)
            return
        if answer.status in {400, 413, 415, 422}:
            log.error("the node takes these readings in no form: they are given up", why=answer.detail)
        elif answer.status != 200:
            raise Unavailable(f"the node took no readings ({answer.status}): {answer.detail}")
        await self._buffer.done(list(postings))


def senml(postings: Sequence[Posting]) -> bytes:
    """Return the readings of ``postings`` as a SenML JSON pack (RFC 8428), quality in ``q_``."""
    pack: list[dict[str, object]] = []
    for posting in postings:
        for one in posting.records:
            item: dict[str, object] = {"n": one.point, "t": one.observed_us / 1e6, "v": one.value}
            if one.unit:
                item["u"] = one.unit
            if one.quality:
                item["q_"] = one.quality
            pack.append(item)
    return msgspec.json.encode(pack)
