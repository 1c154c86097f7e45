"""What tests of connections share: settings of every adapter, forms filled in, rightly and wrongly, and other sides."""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ocpp.v16 import ChargePoint, call
from playwright.async_api import Page
from websockets.typing import Subprotocol

from gridspine.infra.runtime.settings import Adapters
from tests.apps.portal.conftest import METER, PASSWORD, Portal

OWN = "northside-networks"
SECRET = "geheim-of-the-utility"
EVERY = ("administrator", "operator", "owner")
"""Who may make all of them."""


def a_certificate(name: str, *, key: bool = False) -> str:
    """Return a new certificate in PEM, with its key after it where that is asked for."""
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        subject, subject, own.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(30)
    ).sign(own, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return pem + (own.private_bytes(serialization.Encoding.PEM, *plain).decode() if key else "")


def settings(folder: Path) -> Adapters:
    pem = str(folder / "gateway.pem")
    http = {"port": 0}
    vtns = {"utility": {"origins": ["http://127.0.0.1:9"], "organisations": [OWN]},
            "unset": {"origins": ["https://vtn.example.org"], "organisations": [OWN]},
            "theirs": {"origins": ["https://vtn.example.org"], "organisations": ["brightfield"]}}  # fmt: skip
    certificate = {"certificate": pem, "key": pem, "origins": ["https://vtn.example.org"], "organisations": [OWN]}
    server = {"url": "https://127.0.0.1:9/dcap", "certificate": pem, "key": pem, "ca": pem}
    return Adapters(
        allow=["ieee2030_5", "modbus", "mqtt", "ocpi", "ocpp", "openadr2", "openadr3"],
        settings={
            "mqtt": {"mqtt": http},
            "ocpp": {"ocpp": http, "unknown_tokens": "Accepted"},
            "ocpi": {"country_code": "NL", "party_id": "NSN", "name": "N", "plain": True, "http": http},
            "openadr3": {"http": http, "plain_vtns": True, "allow": ["127.0.0.0/8"], "vtns": vtns},
            "openadr2": {"vtn": {"port": 0, "tls": True}, "vtns": {"cert": certificate}},
            "ieee2030_5": {"pen": 12345, "server": {"port": 0, "tls": True}, "utilities": {"northside": server}},
        },
    )


@contextlib.asynccontextmanager
async def signed_in(portal: Portal, name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}, timeout=60) as client:
        await client.post("/sign-in", data={"username": name, "password": PASSWORD})
        text = (await client.get("/portal/products")).text
        found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', text)
        assert found is not None
        client.headers.update({"x-csrf-token": found[1], "hx-request": "true"})
        yield client


def entered(text: str) -> dict[str, str]:
    """Return what a page says to enter at the other side."""
    return dict(re.findall(r'data-entered="([^"]+)">([^<]*)<', text))


def said(text: str) -> dict[str, str]:
    """Return what a page says at its fields."""
    found = re.findall(r'hx-swap-oob="innerHTML:#f-([\w-]+)-error">([^<]*)<', text)
    return {name: words for name, words in found if words}


def things_of(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r'<h3><a href="/portal/things/([^"]+)"', text)))


GOOD: dict[str, dict[str, str]] = {
    "charge-point": {"title": "Yard", "station": "CP001", "evses": "2", "model": "ev_charger", "phases": "3",
                     "voltageV": "230"},
    "sunspec": {"title": "Roof", "model": "pv_inverter", "host": "127.0.0.1", "port": "9", "unit": "1",
                "intervalS": "5", "timeoutS": "3"},
    "csip-device": {"title": "Rooftop", "model": "pv_inverter", "point": "41020000002", "pin": "111115",
                    "meter": "yes"},
    "ven": {"title": "Pump", "model": "appliance", "resource": "heat-pump-1"},
    "ven2": {"title": "Pump 2", "model": "meter", "venID": "ven-17", "signature": "verified"},
    "openadr3-utility": {"title": "Utility", "vtn": "http://127.0.0.1:9/openadr3/3.1.0", "clientId": "home-1",
                         "secret": "utility", "site": "thing", "thing": METER, "modes.importLimitW": "yes",
                         "edition": "3.1.0", "pollS": "60"},
    "openadr2-utility": {"title": "Utility 2", "vtn": "https://vtn.example.org/OpenADR2/Simple/2.0b", "access": "cert",
                         "site": "thing", "thing": METER, "pollS": "0"},
    "csip-utility": {"title": "Northside", "utility": "northside", "site": "thing", "thing": METER, "pin": "0",
                     "postS": "300", "mirror.activePower": "yes"},
    "roaming-partner": {"name": "brightfield", "how": "invite", "party": "DE BRF"},
}  # fmt: skip
NEEDS_CERTIFICATE = {"csip-device", "ven2"}


def good(kind: str) -> dict[str, str]:
    """Return what makes a connection of a kind."""
    return GOOD[kind] | ({"certificate": a_certificate(kind)} if kind in NEEDS_CERTIFICATE else {})


WRONG: list[tuple[str, dict[str, str], str, str]] = [
    ("charge-point", {"title": "", "station": ""}, "station", "needed"),
    ("charge-point", {"station": "two words"}, "station", "letters"),
    ("charge-point", {"evses": "1.5"}, "evses", "whole number"),
    ("charge-point", {"model": "meter"}, "model", "offered"),
    ("sunspec", {"host": "http://inverter"}, "host", "without a scheme"),
    ("sunspec", {"port": "70000"}, "port", "1 to 65535"),
    ("csip-device", {"certificate": ""}, "certificate", "needed"),
    ("csip-device", {"certificate": "<b>none</b>"}, "certificate", "PEM"),
    ("csip-device", {"pin": "111116"}, "pin", "checksum"),
    ("ven2", {"venID": "a b"}, "venid", "blanks"),
    ("openadr3-utility", {"vtn": "ftp://x"}, "vtn", "http"),
    ("openadr3-utility", {"vtn": "http://127.0.0.1:10/x"}, "vtn", "origins"),
    ("openadr3-utility", {"secret": "theirs"}, "secret", "offered"),
    ("openadr3-utility", {"secret": "unset", "vtn": "https://vtn.example.org/x"}, "secret", "OPENADR3_UNSET"),
    ("openadr3-utility", {"thing": "urn:example:none"}, "thing", "no such Thing"),
    ("openadr2-utility", {"vtn": "https://elsewhere.example.org/x"}, "vtn", "origins"),
    ("csip-utility", {"thing": ""}, "thing", "name a Thing"),
    ("roaming-partner", {"name": "Bright field"}, "name", "small letters"),
    ("roaming-partner", {"how": "register"}, "url", "needed"),
    ("roaming-partner", {"party": ""}, "party", "needed"),
]  # fmt: skip


async def shown(page: Page) -> dict[str, str]:
    await page.wait_for_selector("#made-title")
    found = await page.locator("[data-entered]").all()
    return {str(await one.get_attribute("data-entered")): str(await one.text_content()) for one in found}


@contextlib.asynccontextmanager
async def wallbox(address: str, identity: str, password: str) -> AsyncIterator[None]:
    """A charge point of another party that charges."""
    basic = base64.b64encode(f"{identity}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    url = address + identity
    opening = websockets.connect(url, subprotocols=[Subprotocol("ocpp1.6")], additional_headers=headers)
    async with opening as socket:
        box = ChargePoint(identity, socket)
        listening = asyncio.create_task(box.start())
        await box.call(call.BootNotification(charge_point_model="Wall", charge_point_vendor="Acme"))
        await box.call(call.StartTransaction(1, "CAFE01", 1000, datetime.now(UTC).isoformat()))
        yield
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
