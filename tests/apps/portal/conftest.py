"""A whole node with its portal on a free port, and Debian's Chromium without a head to look at it."""

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from gridspine.apps.api.app import create_app
from gridspine.apps.node.node import Node, compose
from gridspine.apps.node.serve import bind, serve
from gridspine.apps.portal.routes import portal_routes
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.infra.identity.user import Cost
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.settings import Adapters, Archive, Http, Settings
from gridspine.kernel.time import US
from gridspine.sharing.product import Contract, Product

expect.set_options(timeout=40_000)  # a page that is slow is a busy machine's

PASSWORD = "correct horse battery"
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
METER, BATTERY = "urn:example:meter-1", "urn:example:battery-1"
NO_ADAPTERS = Adapters()
MODELS = "https://gridspine.org/models/"
PEOPLE = {
    "olga": ("northside-networks", ("operator", "owner", "auditor")),
    "carl": ("brightfield", ("consumer",)),
    "ada": ("northside-networks", ("administrator",)),
    "audrey": ("northside-networks", ("auditor",)),
}


class Portal:
    """A node, its address, and hands that reach it past the portal."""

    def __init__(self, node: Node, url: str) -> None:
        self.node, self.url = node, url
        directory = node.identity.directory
        self.device = directory.add_principal("northside-networks", "application", "sender", ("operator",))
        token = node.identity.demo.issue(self.device.id) if node.identity.demo else ""
        self.api = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"})

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.api.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def thing(self, id: str, title: str, model: str) -> None:
        await self.post("/things", id=id, title=title, model=MODELS + model)

    async def read(self, thing: str, **values: float) -> None:
        """Report values, observed now."""
        now = time.time()
        body = [{"n": f"{thing}/{name}", "v": value, "t": now} for name, value in values.items()]
        answer = await self.api.post("/readings", json=body, headers={"content-type": "application/senml+json"})
        assert answer.json()["refused"] == 0, answer.text

    async def enrol(self, programme: str, thing: str) -> None:
        """Let a Thing take part in a programme of its own organisation, in its owner's name."""
        asked = ProgrammeEnrolment(
            id="", programme=programme, owner="", organisation="northside-networks", kind="thing", subject=thing,
            from_us=0, until_us=4_000_000_000 * US, modes=(),
        )  # fmt: skip
        await self.node.controls.enrolments.ask(asked, "test")

    async def product(self, title: str = "Feeder flows", **contract: Any) -> str:
        """Publish a product of the meter's power in the name of olga's organisation."""
        promise = {"licence": "CC-BY-4.0", "purposes": ("balancing", "research"), **contract}
        product = Product("", "northside-networks", title, (f"{METER}/activePower",), Contract(**promise))
        return (await self.node.access.publish(product, actor="test")).id


@pytest.fixture
async def portal(tmp_path: Path) -> AsyncIterator[Portal]:
    """A node of Northside Networks with a meter and a battery, four people, and Brightfield as a neighbour."""
    async with running(tmp_path / "node") as started:
        node = started.node
        node.identity.directory.add_organisation("brightfield", "Brightfield")
        node.identity.users._cost = Cost(n=16, r=8, p=1)  # the cost of a password is not what is tested here
        for name, (organisation, roles) in PEOPLE.items():
            node.identity.users.add(organisation, name, PASSWORD, roles)
        await started.thing(METER, "Feeder 7 meter", "meter")
        await started.thing(BATTERY, "Yard battery", "battery")
        yield started


@contextlib.asynccontextmanager
async def running(data: Path, adapters: Adapters = NO_ADAPTERS) -> AsyncIterator[Portal]:
    sock = bind("127.0.0.1", 0)
    http = Http(port=sock.getsockname()[1])
    settings = Settings(
        organisation="Northside Networks", demo=True, http=http, archive=Archive(enabled=False), adapters=adapters
    )
    node = await compose(settings, data, SystemClock(), organisation="northside-networks")
    node.identity.directory.add_organisation("northside-networks", "Northside Networks")
    server = await serve(create_app(node, extra=portal_routes(node)), sock)
    started = Portal(node, f"http://127.0.0.1:{server.port}")
    try:
        yield started
    finally:
        await started.api.aclose()
        node.gate.end_all_streams("node-stopping")
        await server.stop()
        await node.stop()


class Watched:
    """A browser page whose console errors, failed scripts and policy violations are kept."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def sign_in(self, name: str, path: str = "/") -> Page:
        await self.page.goto(self.url + path)
        await self.page.get_by_label("User name").fill(name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_selector("nav")
        return self.page

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


Opens = Callable[..., Any]


@pytest.fixture
async def opens(portal: Portal, browser: Browser) -> AsyncIterator[Opens]:
    """Open a page in a browser of its own; at the end none may have complained."""
    opened: list[Watched] = []
    contexts: list[BrowserContext] = []

    async def open_page(**options: Any) -> Watched:
        context = await browser.new_context(locale="en-GB", timezone_id="Europe/London", **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        opened.append(Watched(await context.new_page(), portal.url))
        return opened[-1]

    yield open_page
    for context in contexts:
        await context.close()
    assert [complaint for one in opened for complaint in one.complaints] == []
