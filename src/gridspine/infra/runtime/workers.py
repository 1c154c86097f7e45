"""One task for each key, as what is wanted of it comes, changes and goes.

::

    wanted  {a: 1, b: 2} ─► {a: 1, b: 3, c: 4}
    a ══════════════════════════════════════►
    b ════════════► ended, waited for ══════►     two of one key never run at once
    c                                  ═════►
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

W = TypeVar("W")
T = TypeVar("T")


class _Served(NamedTuple, Generic[W, T]):
    want: W
    worker: T
    task: asyncio.Task[None]


class Workers(Generic[W, T]):
    """The workers ``T``, each for a want ``W``; their tasks are of a task group that is given with each."""

    def __init__(self) -> None:
        self._served: dict[str, _Served[W, T]] = {}

    def get(self, key: str) -> T | None:
        """Return the worker of a key."""
        one = self._served.get(key)
        return None if one is None else one.worker

    def __contains__(self, key: object) -> bool:
        return key in self._served

    def __len__(self) -> int:
        return len(self._served)

    def __iter__(self) -> Iterator[T]:
        return (one.worker for one in list(self._served.values()))

    async def keep(self, wanted: Mapping[str, W]) -> None:
        """End those that are wanted no more, or otherwise; return when they have ended."""
        for key, served in list(self._served.items()):
            if wanted.get(key) != served.want:
                del self._served[key]
                served.task.cancel()
                await asyncio.wait([served.task])

    def begin(
        self, group: asyncio.TaskGroup, key: str, want: W, worker: T, work: Coroutine[Any, Any, None], name: str
    ) -> None:
        """Begin one whose key has none, as a task of ``name``."""
        self._served[key] = _Served(want, worker, group.create_task(work, name=name))

    def clear(self) -> None:
        """Forget them all: their group has ended them."""
        self._served.clear()
