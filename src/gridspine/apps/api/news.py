"""What streams tell: messages of a source; news, the source of most."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """What a stream tells: ``data`` is JSON, ``name`` what it is about, ``id`` its place ("" for none)."""

    name: str
    data: bytes
    id: str
    headers: dict[str, str]


class Source(Protocol):
    """What there is to tell, one message after the other."""

    on_end: Callable[[str], None] | None
    """Set by the flow: called with the reason when the source ends itself, what is on its way included."""

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        ...

    def messages(self) -> AsyncGenerator[Message, None]:
        """Yield what there is to tell until it is over or stopped; asked for the next, the one before was told."""
        ...

    def stop(self, reason: str) -> None:
        """Yield nothing more: whoever waits for the next message is let go."""
        ...

    def last(self, reason: str) -> dict[str, str]:
        """Return what is said at the end."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class News(Protocol):
    """What is had at once. ``wake`` is set when there may be some; ``over`` says why there will be none."""

    wake: asyncio.Event

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        ...

    def take(self) -> list[Message]:
        """Return what there is to tell now."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class NewsSource:
    """News as a source."""

    def __init__(self, news: News) -> None:
        self.on_end: Callable[[str], None] | None = None
        self._news = news
        self._stopped = False

    @property
    def over(self) -> str:
        """Why there will be no more, "" while there may be."""
        return self._news.over

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield news as they come."""
        while not self._stopped:
            self._news.wake.clear()
            for message in self._news.take():
                yield message
            if self._news.over:
                return
            await self._news.wake.wait()

    def stop(self, _: str) -> None:
        """Yield nothing more."""
        self._stopped = True
        self._news.wake.set()

    def last(self, reason: str) -> dict[str, str]:
        """Return what is said at the end."""
        return {"reason": reason}

    def close(self) -> None:
        """Let go of the news."""
        self._news.close()
