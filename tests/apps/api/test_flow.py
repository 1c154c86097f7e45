"""A flow tells its source what the client has: also when the end comes as a message has just left."""

import asyncio
from types import SimpleNamespace

import pytest

from gridspine.apps.api.flow import Flow
from gridspine.apps.api.news import Message


class Source:
    """Tells numbers; ``sent`` is the last one that it knows the client has."""

    def __init__(self):
        self.on_end, self.over, self.sent, self.stopped = None, "", 0, False

    async def messages(self):
        for number in range(1, 100):
            if self.stopped:
                return
            yield Message("", str(number).encode(), str(number), {})
            self.sent = number

    def stop(self, reason):
        self.stopped = True

    def last(self, reason):
        return {"reason": reason, "cursor": str(self.sent)}

    def close(self):
        pass


@pytest.mark.parametrize("when", ["before", "as it has left"])
async def test_the_end_says_after_which_message_to_go_on(when):
    """Else whoever goes on from there hears a message twice, or misses one."""
    node = SimpleNamespace(
        gate=SimpleNamespace(watch=lambda _, end: lambda: None), clock=SimpleNamespace(sleep=asyncio.sleep)
    )
    right, told = SimpleNamespace(why_over=lambda: "", about="a test"), []
    flow = Flow(node, right, Source())

    async def tell(message):
        if message.data == b"3" and when == "before":
            asyncio.get_running_loop().call_soon(flow.end, "node-stopping")
            await asyncio.sleep(60)
        told.append(message.data)
        if message.data == b"3":
            asyncio.get_running_loop().call_soon(flow.end, "node-stopping")

    await asyncio.wait_for(flow.run(tell), 60)
    assert flow.source.last(flow.ended) == {"reason": "node-stopping", "cursor": told[-1].decode()}
    assert len(told) == (2 if when == "before" else 3)
    flow.close()
