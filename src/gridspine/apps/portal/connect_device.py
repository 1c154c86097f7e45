"""Devices connected by a form: a charge point (OCPP), a SunSpec device (Modbus), an inverter or gateway of CSIP-AUS."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.apps.api.principal import NewPrincipal
from gridspine.apps.api.site import NewSite, register_site
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_form import Field
from gridspine.apps.portal.connect_make import (
    Enter,
    Kind,
    Made,
    door,
    know,
    model_options,
    register,
    section,
    speaker,
)
from gridspine.apps.portal.page import PortalRequest
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.things.directory import Thing

MAX_EVSES = 20
MAX_CERTIFICATE = 20_000
_STATION = re.compile(r"[A-Za-z0-9*\-_=+|@.]{1,48}", re.ASCII)
_LFDI = re.compile(r"[0-9A-Fa-f]{40}", re.ASCII)
TITLE = Field("title", "Title", hint="What people call it.")


# -- a charge point ------------------------------------------------------------------------------------------------


def _charge_point_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        TITLE,
        Field("station", "Its identity", hint="What it calls itself: the end of the address it opens; its user name.",
              most=48, placeholder="CP001"),
        Field("evses", "EVSEs", "number", "How many it has (OCPP 1.6: connectors). Each becomes a Thing.", value="1",
              low=1, high=MAX_EVSES),
        Field("model", "Model", "select", options=model_options(node, caller.organisation, "ev_charger", "v2x_charger"),
              value="ev_charger", more=True),
        Field("phases", "Phases", "select", options=(("3", "three"), ("2", "two"), ("1", "one")), value="3", more=True),
        Field("voltageV", "Voltage [V]", "number", "Between a phase and neutral.", value="230", low=50, high=1000,
              whole=False, more=True),
    )  # fmt: skip


async def _make_charge_point(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    station, title = given["station"], given["title"]
    if not _STATION.fullmatch(station):
        raise Invalid("station: letters, digits and * - _ = + | @ . are allowed")
    at = door(node, request, "ocpp", "ocpp")
    if at is None:
        raise Invalid("the adapter does not listen yet: see Connections for why")
    taken = (one.connection.get("station") for one in node.things.of_adapter("ocpp")
             if one.organisation == request.user.organisation)  # fmt: skip
    if station in taken:
        raise Invalid("station: a charge point of that identity is connected already")
    wanted = NewPrincipal("device", f"Charge point {title}"[:100], ("device",), password=True)
    things = []
    async with speaker(request, node, wanted) as device:
        for evse in range(1, given["evses"] + 1):
            connection = {
                "station": station, "device": device.id, "evse": evse, "phases": int(given["phases"]),
                "voltageV": given["voltageV"],
            }  # fmt: skip
            name = title if given["evses"] == 1 else f"{title}: EVSE {evse}"
            things.append(await register(request, node, name, given["model"], "ocpp", connection, (device.id,)))
    path = str(section(node, "ocpp").get("path", "/ocpp/"))
    enter = (
        Enter("Address", at.url("ws", path)),
        Enter("Identity, and user name", station),
        Enter("Password", device.password, secret=True),
    )
    words = ["Most charge points add their identity to the address themselves; some want it written there: "
             f"{at.url('ws', path + station)}"]  # fmt: skip
    if at.local:
        words.append("The node listens to this machine only: for charge points elsewhere set host and tls = true in "
                     "[adapters.settings.ocpp.ocpp] and start it again.")  # fmt: skip
    return Made(things, enter, words, at.own_certificate)


CHARGE_POINT = Kind(
    "charge-point", "A charge point", "OCPP 1.6, 2.0.1, 2.1", "It comes to the node with a password that is made here.",
    "ocpp", ("identity", "register", "connect"), _charge_point_fields, _make_charge_point,
    '[adapters]\nallow = ["ocpp"]\n[adapters.settings.ocpp.ocpp]\nport = 8887', "connect-a-charge-point", "ocpp",
)  # fmt: skip


# -- a SunSpec device ----------------------------------------------------------------------------------------------


def _sunspec_fields(node: Node, caller: Caller) -> Sequence[Field]:
    models = model_options(node, caller.organisation, "pv_inverter", "smart_inverter", "battery")
    return (
        TITLE,
        Field("model", "What it is", "select", options=models, value="pv_inverter"),
        Field("host", "Host or address", hint="Where it answers by Modbus TCP.", most=253, placeholder="192.0.2.7"),
        Field("port", "Port", "number", value="502", low=1, high=65_535),
        Field("unit", "Unit id", "number", value="1", low=0, high=255),
        Field("intervalS", "Read every [s]", "number", value="5", low=0.5, high=3600, whole=False, more=True),
        Field("timeoutS", "An answer may take [s]", "number", value="3", low=0.1, high=60, whole=False, more=True),
        Field("serialNumber", "Serial number", hint="Another device there is then neither read nor commanded.",
              needed=False, most=32, more=True),
    )  # fmt: skip


async def _make_sunspec(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    if re.search(r"[\s/@]", given["host"]):
        raise Invalid("host: a name or an address, without a scheme or a port")
    connection = {
        "transport": "tcp", "host": given["host"], "port": given["port"], "unit": given["unit"],
        "intervalS": given["intervalS"], "timeoutS": given["timeoutS"],
    }  # fmt: skip
    if given["serialNumber"]:
        connection["serialNumber"] = given["serialNumber"]
    thing = await register(request, node, given["title"], given["model"], "modbus", connection)
    words = ("Nothing is to be entered there, except that some inverters must be told to serve Modbus TCP.",)
    return Made((thing,), (), words)


SUNSPEC = Kind(
    "sunspec", "A SunSpec inverter or battery", "Modbus TCP", "The node goes to it, and reads it every few seconds.",
    "modbus", ("register", "connect"), _sunspec_fields, _make_sunspec,
    '[adapters]\nallow = ["modbus"]', "add-a-modbus-device",
)  # fmt: skip


# -- a device, gateway or aggregator of CSIP-AUS -------------------------------------------------------------------


def _csip_fields(node: Node, caller: Caller) -> Sequence[Field]:
    speakers = [
        (one.connection["lfdi"], f"{one.title} ({one.connection['lfdi'][:8]}…)") for one in _aggregators(node, caller)
    ]
    models = model_options(node, caller.organisation, "pv_inverter", "smart_inverter", "battery", "ev_charger", "site")
    return (
        TITLE,
        Field("certificate", "Its certificate", "textarea",
              "PEM, as its maker or network gave it; no key. Not needed behind an aggregator.", needed=False,
              most=MAX_CERTIFICATE, file=".pem,.crt,.cer",
              placeholder="-----BEGIN CERTIFICATE-----"),
        Field("model", "What it is", "select", options=models, value="pv_inverter"),
        Field("point", "Connection point (NMI)", hint="Makes its site, too. Without it, limits reach the Thing.",
              needed=False, most=64),
        Field("pin", "Registration PIN", "number", "With its checksum, such as 111115; 0 for none.", value="0", low=0,
              high=999_999, needed=False, more=True),
        Field("meter", "What it measures of its site becomes a meter of its own", "checkbox", more=True),
        Field("aggregator", "It is an aggregator: it speaks for others", "checkbox", more=True),
        Field("behind", "Behind the aggregator", "select", options=speakers, needed=False, more=True),
        Field("lfdi", "Its own LFDI", hint="40 hexadecimal digits; behind an aggregator only.", needed=False, most=40,
              more=True),
    )  # fmt: skip


def _aggregators(node: Node, caller: Caller) -> list[Thing]:
    """Return the own Things that speak for others, by their LFDI."""
    return [
        one
        for one in node.things.of_adapter("ieee2030_5")
        if one.organisation == caller.organisation and one.connection.get("role") == "aggregator" and one.devices
    ]


def check_pin(pin: int) -> None:
    """Raise `Invalid` unless a registration PIN ends with its checksum: the sum of the digits before, modulo 10."""
    if pin and sum(map(int, str(pin // 10))) % 10 != pin % 10:
        raise Invalid("pin: its last digit is not its checksum (the sum of the others, modulo 10)")


async def _make_csip(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    check_pin(given["pin"])
    if given["point"] and not request.user.has("operator"):
        raise Invalid("point: a site is registered by an operator: leave it empty, or ask one")
    if given["behind"] and not _LFDI.fullmatch(given["lfdi"]):
        raise Invalid("lfdi: behind an aggregator the device's own is needed, 40 hexadecimal digits")
    if given["behind"] and given["aggregator"]:
        raise Invalid("behind: an aggregator is not behind another")
    if not given["behind"] and not given["certificate"]:
        raise Invalid("certificate: this is needed")
    if given["behind"]:
        speaks = next(one for one in _aggregators(node, request.user) if one.connection["lfdi"] == given["behind"])
        return await _csip_things(request, node, given, speaks.devices[0], given["lfdi"].upper())
    wanted = NewPrincipal("device", given["title"][:100], ("device",))
    async with speaker(request, node, wanted) as device:
        lfdi = await know(request, node, device.id, given["certificate"])
        return await _csip_things(request, node, given, device.id, lfdi)


async def _csip_things(
    request: PortalRequest, node: Node, given: Mapping[str, Any], device: str, lfdi: str
) -> Made:  # fmt: skip
    role = {"role": "aggregator"} if given["aggregator"] else {"aggregator": given["behind"]} if given["behind"] else {}
    connection = {"lfdi": lfdi, "pin": given["pin"], **role}
    title = given["title"]
    things = [await register(request, node, title, given["model"], "ieee2030_5", connection, (device,))]
    if given["meter"]:
        of_site = {"lfdi": lfdi, "role": "site"}
        things.append(await register(request, node, f"{title}: meter", "meter", "ieee2030_5", of_site, (device,)))
    words = []
    if given["point"]:
        await register_site.fn(
            request, node, NewSite(title=title, things=(things[0],), connection_point_id=given["point"])
        )
        words.append(f"Its connection point {given['point']} is a site now: limits are set there.")
    at = door(node, request, "ieee2030_5", "server")
    path = str(section(node, "ieee2030_5").get("path", ""))
    address = at.url("http", f"{path}/dcap") if at else "the adapter does not listen yet"
    enter = [Enter("DeviceCapability", address), Enter("LFDI", lfdi)]
    if given["pin"]:
        enter.append(Enter("Registration PIN", f"{given['pin']:06d}"))
    return Made(things, enter, words, at is not None and at.own_certificate)


CSIP_DEVICE = Kind(
    "csip-device", "A CSIP-AUS inverter or gateway", "IEEE 2030.5",
    "It comes to the node, and proves itself by its own certificate.",
    "ieee2030_5", ("identity-node", "register", "connect"), _csip_fields, _make_csip,
    '[adapters]\nallow = ["ieee2030_5"]\n[adapters.settings.ieee2030_5]\npen = 12345\n'
    '[adapters.settings.ieee2030_5.server]\nport = 8443\ntls = true\nclient = "required"\n'
    'ca = ["/etc/gridspine/serca.pem"]\ncertificate = "/etc/gridspine/server.crt"\nkey = "/etc/gridspine/server.key"',
    "connect-a-csip-aus-inverter", "server",
)  # fmt: skip
