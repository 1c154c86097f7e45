"""A node that subscribes at another's utility server, and is notified by it: by mutual TLS, and by nobody else."""

import contextlib
import ssl
from collections import Counter

import httpx
import msgspec
import pytest
from csip_home import Home, registered
from csip_utility import SEP, XML, serving, until, xml

from gridspine.adapters.ieee2030_5.settings import read_settings
from gridspine.apps.node.adapters import RegistryStore
from gridspine.kernel.errors import Invalid
from tests.ports import free_port

HOUR = dict.fromkeys(
    ("device_capability", "end_device_list", "function_set_assignments_list", "der_program_list", "der_list"), 3_600
)
"""The server's rates: polls alone would show nothing in the time of a test."""


@contextlib.asynccontextmanager
async def both(folder):
    """Yield a utility that notifies, and a home that is to be notified."""
    port, ca = free_port(), str(folder / "pki" / "authority.crt")
    async with serving(folder, rates=HOUR, notify_allow=["127.0.0.0/8"], notify_ca=ca) as utility:
        home = Home(utility, folder / "home")
        told = utility.pki.listener("hook")
        listener = {
            "port": port, "tls": True, "client": "required", "ca": [ca],
            "certificate": str(told.crt), "key": str(told.pem),
        }  # fmt: skip
        more = {"notification_url": f"https://127.0.0.1:{port}", "poll_most_s": 86_400.0}
        home.settings = {"listener": {"notifications": listener}, **more}
        home.hook = f"https://127.0.0.1:{port}/notified/grid"
        await home.start(**home.settings)
        try:
            yield utility, home
        finally:
            await home.stop()


async def kept(home):
    """Return what the home keeps of its subscriptions: where they are, by what they are to."""
    raw = await RegistryStore(home.world.node.registry, "ieee2030_5").get("subscriptions/grid")
    return {} if raw is None else {one["resource"]: one["href"] for one in msgspec.msgpack.decode(raw).values()}


async def listed(utility, home):
    """Return the subscriptions that the utility lists."""
    http = await utility.client(home.issued)
    own = xml(await http.get("/edev?l=9")).find(f"{SEP}EndDevice").get("href")
    found = xml(await http.get(f"{own}/sub?l=99")).findall(f"{SEP}Subscription")
    return Counter(one.find(f"{SEP}subscribedResource").text for one in found)


async def post(utility, home, issued, body, headers=XML):
    context = ssl.create_default_context(cafile=str(utility.pki.ca.crt))
    context.load_cert_chain(issued.crt, issued.pem)
    async with httpx.AsyncClient(verify=context) as http:
        return (await http.post(home.hook, content=body, headers=headers)).status_code


def notification(resource, href, status=0):
    return (
        f'<Notification xmlns="{SEP[1:-1]}"><subscribedResource>{resource}</subscribedResource>'
        f"<status>{status}</status><subscriptionURI>{href}</subscriptionURI></Notification>"
    )


@pytest.mark.slow
async def test_what_changes_is_told_and_read_at_once_by_nobody_but_the_server(tmp_path) -> None:
    async with both(tmp_path) as (utility, home):
        thing = await registered(utility, home)
        programme, _ = await utility.programme(thing, kind="thing", defaultControl={"exportLimitW": 1500})
        await home.settle()

        async def subscribed():
            return len(await kept(home)) >= 5 and len(await home.programmes()) == 1

        await until(subscribed)  # the list of EndDevices, of assignments, of programs, of controls; the default
        await utility.event(programme, {"exportLimitW": 0})
        (event,) = await until(home.events)
        assert event["intervals"][0]["control"] == {"exportLimitW": 0}
        body = {"title": "Summer peaks", "modes": ["exportLimitW"], "defaultControl": {"exportLimitW": 900}}
        assert (await utility.world.op.put(f"/programmes/{programme}", json=body)).status_code == 200

        async def anew():
            return [one for one in await home.programmes() if one["defaultControl"] == {"exportLimitW": 900}]

        await until(anew)
        held = await kept(home)
        assert Counter(list(held)) == await listed(utility, home)
        await _refused(utility, home, *next(iter(held.items())))
        await home.stop()
        await home.start(**home.settings)
        await until(lambda: home.says(serverReached=1))
        assert await kept(home) == held
        assert await listed(utility, home) == Counter(list(held)), "a restart subscribes to nothing twice"
        assert (await utility.world.op.delete(f"/programmes/{programme}")).status_code == 204

        async def fewer():  # what is there no more is not subscribed to, there and here
            left = await kept(home)
            return len(left) < len(held) and await listed(utility, home) == Counter(list(left))

        await until(fewer)
        assert await home.programmes() == []


async def _refused(utility, home, resource, href):
    """Say what the listener must not take."""
    assert await post(utility, home, utility.pki.device("mallory"), notification(resource, href)) == 403
    assert await post(utility, home, home.issued, notification(resource, href)) == 403
    server = utility.pki.server
    assert await post(utility, home, server, notification(resource, "/edev/x/sub/99")) == 404
    assert await post(utility, home, server, notification("/edev/x/fsa", href)) == 404
    assert await post(utility, home, server, "<a/>") == 400
    assert await post(utility, home, server, notification(resource, href, status=999)) == 400
    assert await post(utility, home, server, notification(resource, href)) == 204
    with pytest.raises(httpx.HTTPError):  # who shows no certificate does not get as far as a request
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(utility.pki.ca.crt))) as http:
            await http.post(home.hook, content="")


@pytest.mark.parametrize("listener", [None, {"tls": True}, {"client": "required"}])
def test_notifications_need_a_listener_that_asks_who_tells_it(listener) -> None:
    access = {"url": "https://a/dcap", "certificate": "c", "key": "k", "ca": "a", "notification_url": "https://b:1"}
    section = {"utilities": {"grid": access}} | ({} if listener is None else {"notifications": listener})
    with pytest.raises(Invalid, match="notifications"):
        read_settings(section)


@pytest.mark.parametrize("url", ["http://a:1", "https://", "https://[::1", "https://u@a:1", "https://a:1/?x=1"])
def test_what_is_no_address_for_notifications_is_refused(url) -> None:
    access = {"url": "https://a/dcap", "certificate": "c", "key": "k", "ca": "a", "notification_url": url}
    with pytest.raises(Invalid, match="notification_url"):
        read_settings({"utilities": {"grid": access}})
