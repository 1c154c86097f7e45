"""What collects notifications for CACTUS: endpoints made, read, switched off and on, by the paths it asks for."""

import asyncio
import uuid
from datetime import UTC, datetime

from aiohttp import web
from cactus_schema.notification import (
    CollectedHeader,
    CollectedNotification,
    CollectEndpointResponse,
    ConfigureEndpointRequest,
    CreateEndpointResponse,
)

MAX_WAITING = 1_000


class Webhooks:
    """A server on a free port of the loopback; ``url`` is where it is."""

    def __init__(self):
        self.url = ""
        self._waiting, self._off = {}, set()

    async def start(self):
        app = web.Application()
        app.router.add_post("/manage/endpoint", self._create)
        app.router.add_route("*", "/manage/endpoint/{id}", self._manage)
        app.router.add_route("*", "/webhook/{id}", self._notified)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self):
        await self._runner.cleanup()

    async def _create(self, request):
        name = uuid.uuid4().hex
        self._waiting[name] = []
        made = CreateEndpointResponse(endpoint_id=name, fully_qualified_endpoint=f"{self.url}webhook/{name}")
        return _answer(made)

    async def _manage(self, request):
        name = request.match_info["id"]
        if name not in self._waiting:
            return web.Response(status=404)
        if request.method == "GET":
            told, self._waiting[name] = self._waiting[name], []
            return _answer(CollectEndpointResponse(notifications=told))
        if request.method == "PUT":
            enabled = ConfigureEndpointRequest.from_json(await request.text()).enabled
            (self._off.discard if enabled else self._off.add)(name)
        elif request.method == "DELETE":
            del self._waiting[name]
        return web.Response(status=200)

    async def _notified(self, request):
        name = request.match_info["id"]
        if name not in self._waiting:
            return web.Response(status=404)
        if name in self._off:
            return web.Response(status=500)
        headers = [CollectedHeader(name=key, value=value) for key, value in request.headers.items()]
        told = CollectedNotification(
            method=request.method, headers=headers, body=await request.text(), received_at=datetime.now(UTC),
            remote=request.remote,
        )  # fmt: skip
        self._waiting[name] = [*self._waiting[name], told][-MAX_WAITING:]
        await asyncio.sleep(0)
        return web.Response(status=200)


def _answer(body):
    return web.Response(text=body.to_json(), content_type="application/json")
