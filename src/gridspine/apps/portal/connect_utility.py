"""Who runs programmes elsewhere, followed: a VTN of OpenADR 3 or 2.0b, a utility's server of IEEE 2030.5.

By what the node is known there stands in the settings and the environment of its machine, never in a form: which secret
or certificate may be taken where, and for whose Things.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gridspine.apps.api.principal import NewPrincipal
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_form import Field
from gridspine.apps.portal.connect_make import (
    Enter,
    Kind,
    Made,
    know,
    own_thing,
    register,
    section,
    speaker,
)
from gridspine.apps.portal.page import PortalRequest
from gridspine.infra.identity.caller import Caller
from gridspine.infra.runtime.secret import PREFIX, adapter_secrets
from gridspine.infra.runtime.web_place import SecretUse, split_address
from gridspine.kernel.errors import Invalid

MAX_SITES = 1_000
MAX_CERTIFICATE_FILE = 1 << 18
ALONE = "thing"
MODES = (
    ("importLimitW", "limit import"), ("exportLimitW", "limit export"), ("targetW", "set a target"),
    ("generationLimitW", "limit generation"), ("loadLimitW", "limit load"),
)  # fmt: skip
_SPEAKS = ("operator", "owner")


def subject_fields(node: Node, caller: Caller) -> tuple[Field, Field]:
    """Return the fields that say who takes part: a site of the organisation, or a Thing alone."""
    sites = [(one.id, one.title) for one in node.controls.sites.of_organisation(caller.organisation)[:MAX_SITES]]
    return (
        Field("site", "Who takes part", "select", "Sites are registered under Control, Sites; or name a Thing.",
              options=(*sites, (ALONE, "one Thing, named beside")), value=sites[0][0] if sites else ALONE),
        Field("thing", "The Thing", hint="Its id.", needed=False, most=255, placeholder="urn:…"),
    )  # fmt: skip


def subject_of(node: Node, caller: Caller, given: Mapping[str, Any]) -> dict[str, str]:
    """Return who takes part, as connections say it; raise `Invalid`."""
    if given["site"] != ALONE:
        return {"site": given["site"]}
    if not given["thing"]:
        raise Invalid("thing: choose a site, or name a Thing")
    return {"thing": own_thing(node, caller, "thing", given["thing"])}


def names(text: str) -> list[str]:
    """Return the names in a text that parts them by commas or new lines."""
    return [name for part in text.replace("\n", ",").split(",") if (name := part.strip())]


# -- a VTN of OpenADR 3 --------------------------------------------------------------------------------------------


def _uses(node: Node, caller: Caller, adapter: str) -> dict[str, SecretUse]:
    """Return the secrets (or certificates) of an adapter by which VTNs may be followed for the caller's Things."""
    found = {}
    for name, given in section(node, adapter).get("vtns", {}).items():
        use = SecretUse(tuple(given.get("origins", ())), tuple(given.get("organisations", ())))
        if caller.organisation in use.organisations:
            found[name] = use
    return found


def _use_field(node: Node, caller: Caller, adapter: str, name: str, label: str, hint: str) -> Field:
    uses = _uses(node, caller, adapter)
    options = [(one, f"{one} (for {', '.join(use.origins) or 'nowhere'})") for one, use in uses.items()]
    hint = hint if options else f"None yet for your organisation: see the settings below, {adapter}.vtns. {hint}"
    return Field(name, label, "select", hint, options=options, value=options[0][0] if options else "")


def _vtn(node: Node, caller: Caller, adapter: str, use: str, address: str) -> str:
    """Return the address of a VTN to which ``use`` may be taken; raise `Invalid` at its field."""
    try:
        parts = split_address(address)
    except Invalid as error:
        raise Invalid(f"vtn: {error.detail}") from error
    if parts.scheme == "http" and not section(node, adapter).get("plain_vtns"):
        raise Invalid("vtn: https is needed: what proves the node is sent there")
    if not _uses(node, caller, adapter)[use].permits(address, caller.organisation):
        raise Invalid(f"vtn: {use} may not be taken there: its origins in the settings say where to")
    return address.rstrip("/")


def _openadr3_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        Field("title", "Title", hint="What people call it.", value="Utility"),
        Field("vtn", "Its address", "url", "The VTN's base.", most=2_000,
              placeholder="https://vtn.example.org/openadr3/3.1.0"),
        Field("clientId", "Client id", hint="What it knows the node by.", most=128),
        _use_field(node, caller, "openadr3", "secret", "Client secret",
                   "By its name: the secret itself is in the node's environment."),
        *subject_fields(node, caller),
        Field("modes", "What it may do", "choices", "The owner's consent. Without any, events are to know only.",
              options=MODES[:3]),
        Field("edition", "Edition", "select", options=(("3.1.0", "3.1.0"), ("3.0.1", "3.0.1")), value="3.1.0",
              more=True),
        Field("telemetry", "Reports tell of the Thing", hint="Its id.", needed=False, most=255, more=True),
        Field("programs", "Programs", hint="Their names, parted by commas; all by default.", needed=False, most=2_000,
              more=True),
        Field("venName", "The VEN's name there", hint="The client id by default.", needed=False, most=128, more=True),
        Field("tokenUrl", "Where tokens are had", "url", "If the VTN does not say.", needed=False, most=2_000,
              more=True),
        Field("callback", "Where it reaches the node", "url", "To be told of changes; without it all is read anew.",
              needed=False, most=2_000, more=True),
        Field("pollS", "Read all every [s]", "number", value="60", low=1, high=86_400, whole=False, more=True),
    )  # fmt: skip


async def _make_openadr3(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    caller = request.user
    vtn = _vtn(node, caller, "openadr3", given["secret"], given["vtn"])
    if given["secret"].lower() not in adapter_secrets("openadr3"):
        variable = f"{PREFIX}OPENADR3_{given['secret'].upper()}"
        raise Invalid(f"secret: the node was started without it: set {variable} in its environment")
    telemetry = own_thing(node, caller, "telemetry", given["telemetry"]) if given["telemetry"] else ""
    wanted = {
        "vtn": vtn, "clientId": given["clientId"], "secret": given["secret"], "edition": given["edition"],
        "tokenUrl": given["tokenUrl"], "venName": given["venName"], **subject_of(node, caller, given),
        "modes": list(given["modes"]), "telemetry": telemetry, "programs": names(given["programs"]),
        "callback": given["callback"], "pollS": given["pollS"],
    }  # fmt: skip
    thing = await _followed(request, node, given["title"], "openadr3", wanted)
    return Made((thing,), (), ("Its programs and events become programmes and events here, as they are read.",))


OPENADR3_UTILITY = Kind(
    "openadr3-utility", "A utility's OpenADR 3 server", "OpenADR 3.1.0, 3.0.1",
    "The node is a VEN of it: its events reach your site, as far as you consent.",
    "openadr3", ("identity", "register", "connect", "enrol"), _openadr3_fields, _make_openadr3,
    '[adapters]\nallow = ["openadr3"]\n[adapters.settings.openadr3.http]\nport = 8887\n'
    '[adapters.settings.openadr3.vtns.utility]\norigins = ["https://vtn.example.org"]\n'
    'organisations = ["{organisation}"]\n'
    "# and in the environment: GRIDSPINE_SECRET_OPENADR3_UTILITY=what-the-utility-gave",
    "follow-a-utility-by-openadr",
)  # fmt: skip


# -- a VTN of OpenADR 2.0b -----------------------------------------------------------------------------------------


def _openadr2_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        Field("title", "Title", hint="What people call it.", value="Utility"),
        Field("vtn", "Its address", "url", "The VTN's base.", most=2_000,
              placeholder="https://vtn.example.org:8443/OpenADR2/Simple/2.0b"),
        _use_field(node, caller, "openadr2", "access", "Certificate",
                   "By its name: its files are on the node's machine."),
        *subject_fields(node, caller),
        Field("modes", "What it may do", "choices", "The owner's consent. Without any, events are to know only.",
              options=MODES),
        Field("venName", "The VEN's name there", needed=False, most=128, more=True),
        Field("telemetry", "Reports tell of the Thing", hint="Its id.", needed=False, most=255, more=True),
        Field("marketContexts", "Market contexts", hint="Parted by commas; all by default.", needed=False, most=2_000,
              more=True),
        Field("pollS", "Poll every [s]", "number", "0: as often as the VTN wishes.", value="0", low=0, high=86_400,
              whole=False, more=True),
    )  # fmt: skip


async def _make_openadr2(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    caller = request.user
    vtn = _vtn(node, caller, "openadr2", given["access"], given["vtn"])
    telemetry = own_thing(node, caller, "telemetry", given["telemetry"]) if given["telemetry"] else ""
    wanted = {
        "vtn": vtn, "access": given["access"], "venName": given["venName"], **subject_of(node, caller, given),
        "modes": list(given["modes"]), "telemetry": telemetry, "marketContexts": names(given["marketContexts"]),
        "pollS": given["pollS"],
    }  # fmt: skip
    thing = await _followed(request, node, given["title"], "openadr2", wanted)
    return Made((thing,), (), ("Its events become events here, as it distributes them.",))


OPENADR2_UTILITY = Kind(
    "openadr2-utility", "A utility's OpenADR 2.0b server", "OpenADR 2.0b",
    "The node is a VEN of it, by a certificate that the utility's authority issued.",
    "openadr2", ("identity", "register", "connect", "enrol"), _openadr2_fields, _make_openadr2,
    '[adapters]\nallow = ["openadr2"]\n[adapters.settings.openadr2.vtns.utility]\n'
    'certificate = "/etc/gridspine/ven.crt"\nkey = "/etc/gridspine/ven.key"\nca = "/etc/gridspine/utility-ca.pem"\n'
    'origins = ["https://vtn.example.org:8443"]\norganisations = ["{organisation}"]',
    "follow-a-utility-by-openadr",
)  # fmt: skip


async def _followed(
    request: PortalRequest, node: Node, title: str, adapter: str, wanted: Mapping[str, Any]
) -> str:  # fmt: skip
    """Register the Thing that follows a VTN, and the application that acts in its name; return its id."""
    connection = {name: value for name, value in wanted.items() if value not in ("", [])}
    async with speaker(
        request, node, NewPrincipal("application", f"VEN of {title}"[:100], ("owner", "operator"))
    ) as who:
        return await register(request, node, title, "ven", adapter, connection, (who.id,))


# -- a utility's server of IEEE 2030.5 -----------------------------------------------------------------------------


def _csip_fields(node: Node, caller: Caller) -> Sequence[Field]:
    utilities = section(node, "ieee2030_5").get("utilities", {})
    options = [(name, f"{name} ({given.get('url', '')})") for name, given in utilities.items()]
    hint = "By its name in the settings." if options else "None yet: see the settings below."
    return (
        Field("title", "Title", hint="What people call it.", value="Utility"),
        Field("utility", "The server", "select", hint, options=options, value=options[0][0] if options else ""),
        *subject_fields(node, caller),
        Field("pin", "Its PIN", "number", "What the server must show before it is followed; 0 for any.", value="0",
              low=0, high=999_999, needed=False),
        Field("ratedPowerW", "Rated power [W]", "number", "What its percentages are of; told as DERCapability.",
              value="0", low=0, high=1e9, whole=False, needed=False, more=True),
        Field("mirror", "Readings that are posted", "choices", options=(
            ("activePower", "active power"), ("reactivePower", "reactive power"), ("voltage", "voltage"),
            ("activeEnergyImport", "energy imported"), ("activeEnergyExport", "energy exported")), more=True),
        Field("postS", "Post every [s]", "number", value="300", low=1, high=86_400, more=True),
        Field("meter", "The Thing that measures", hint="Of the connection point; its id.", needed=False, most=255,
              more=True),
        Field("lfdi", "LFDI of the EndDevice", hint="Where it is not that of the node's certificate.", needed=False,
              most=40, more=True),
    )  # fmt: skip


async def _make_csip(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    utility = given["utility"]
    file = str(section(node, "ieee2030_5").get("utilities", {})[utility].get("certificate", ""))
    certificate = await asyncio.to_thread(_read_certificate, file)
    meter = own_thing(node, request.user, "meter", given["meter"]) if given["meter"] else ""
    wanted = {
        "utility": utility, **subject_of(node, request.user, given), "lfdi": given["lfdi"].upper(), "pin": given["pin"],
        "ratedPowerW": given["ratedPowerW"], "mirror": list(given["mirror"]), "meter": meter, "postS": given["postS"],
    }  # fmt: skip
    connection = {name: value for name, value in wanted.items() if value}
    principal, name = "", f"utility {utility}"
    for known in node.identity.directory.principals(request.user.organisation):
        if known.name == name and known.active:
            principal = known.id
    if principal:
        lfdi = await know(request, node, principal, certificate)
        thing = await register(request, node, given["title"], "utility_connection", "ieee2030_5", connection)
    else:
        async with speaker(request, node, NewPrincipal("application", name, _SPEAKS)) as made:
            lfdi = await know(request, node, made.id, certificate)
            thing = await register(request, node, given["title"], "utility_connection", "ieee2030_5", connection)
    words = ("Tell the utility the LFDI. Once it has registered the EndDevice, its programs are followed.",)
    return Made((thing,), (Enter("LFDI of the node", given["lfdi"].upper() or lfdi),), words)


def _read_certificate(file: str) -> str:
    """Return the certificates in a file that the settings name, without whatever else is in it; raise `Invalid`."""
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_CERTIFICATE_FILE).decode("ascii", "replace")
    except OSError as error:
        raise Invalid(f"utility: its certificate cannot be read on the node's machine: {error.strerror}") from error
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = text.partition(begin)
    body, ended, _ = rest.partition(end)
    if not found or not ended:
        raise Invalid("utility: the file that its settings name has no certificate in PEM")
    return f"{begin}{body}{end}\n"


CSIP_UTILITY = Kind(
    "csip-utility", "A utility's IEEE 2030.5 server", "IEEE 2030.5, CSIP-AUS",
    "The node goes to it, as a gateway or aggregator: it sets the limits of your site.",
    "ieee2030_5", ("identity-node", "register", "connect", "enrol"), _csip_fields, _make_csip,
    '[adapters]\nallow = ["ieee2030_5"]\n[adapters.settings.ieee2030_5.utilities.northside]\n'
    'url = "https://server.example:8443/dcap"\ncertificate = "/etc/gridspine/gateway.crt"\n'
    'key = "/etc/gridspine/gateway.key"\nca = "/etc/gridspine/serca.pem"',
    "follow-a-utilitys-server",
)  # fmt: skip
