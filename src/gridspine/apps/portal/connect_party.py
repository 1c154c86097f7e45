"""Who comes as a party of its own: an OpenADR client (VEN), or a roaming partner by OCPI."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.apps.api.action import ActionStatus, invoke, query_action
from gridspine.apps.api.principal import NewPrincipal
from gridspine.apps.api.programme_enrolment import NewProgrammeEnrolment, ask_enrolment
from gridspine.apps.api.standing import new_device_password
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_device import MAX_CERTIFICATE, TITLE
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
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound, Unavailable
from gridspine.kernel.time import US, format_rfc3339

MAX_PROGRAMMES = 200
_YEAR_US = 365 * 86_400 * US
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_WORD = re.compile(r"[^\s\x00-\x1f]{1,128}")
_LOOK_S, _PATIENCE_S = 0.1, 60.0
_VEN_MODELS = ("appliance", "heat_pump", "ev_charger", "battery", "meter", "home")


# -- VENs ----------------------------------------------------------------------------------------------------------


def _programme_field(node: Node, caller: Caller) -> Field:
    seen = [
        one for one in node.controls.programmes.seen_by(caller.organisation) if one.organisation == caller.organisation
    ]
    options = [(one.id, one.title) for one in seen[:MAX_PROGRAMMES]]
    return Field("programme", "Enrol it in", "select", "An own programme, for a year; an owner consents.",
                 options=options, needed=False)  # fmt: skip


async def _enrol(request: PortalRequest, node: Node, programme: str, thing: str) -> list[str]:
    """Enrol a Thing for a year where a programme was chosen; return what to say of it."""
    if not programme:
        return ["It is enrolled in no programme yet: events that command reach it once it is."]
    until = format_rfc3339(node.clock.now_us() + _YEAR_US)
    await ask_enrolment.fn(request, node, programme, NewProgrammeEnrolment(until=until, thing=thing))
    return ["It is enrolled in the programme for a year."]


def _may_enrol(caller: Caller, programme: str) -> None:
    if programme and not caller.has("owner"):
        raise Invalid("programme: an owner enrols, and so consents: leave it empty, or ask one")


def _ven3_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        TITLE,
        Field("model", "What it reports of", "select", options=model_options(node, caller.organisation, *_VEN_MODELS),
              value="appliance"),
        Field("resource", "Resource", hint="The name that the VEN's reports give it: what they tell is the Thing's.",
              most=128, placeholder="heat-pump-1"),
        _programme_field(node, caller),
    )  # fmt: skip


async def _make_ven3(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    _may_enrol(request.user, given["programme"])
    at = door(node, request, "openadr3", "http")
    if at is None:
        raise Invalid("the adapter does not listen yet: see Connections for why")
    title = given["title"]
    async with speaker(request, node, NewPrincipal("application", f"VEN {title}"[:100], ("owner",))) as ven:
        connection = {"resource": given["resource"]}
        thing = await register(request, node, title, given["model"], "openadr3", connection, (ven.id,))
        words = await _enrol(request, node, given["programme"], thing)
        secret = (await new_device_password.fn(request, node, ven.id)).password
    enter = (
        Enter("VTN, OpenADR 3.1.0", at.url("http", "/openadr3/3.1.0")),
        Enter("VTN, OpenADR 3.0.1", at.url("http", "/openadr3/3.0.1")),
        Enter("Tokens at", at.url("http", "/openadr3/3.1.0/auth/token")),
        Enter("Client id", ven.id),
        Enter("Client secret", secret, secret=True),
    )
    if at.local:
        words.append("The node listens to this machine only: for VENs elsewhere set host and tls = true in "
                     "[adapters.settings.openadr3.http] and start it again.")  # fmt: skip
    return Made((thing,), enter, words, at.own_certificate)


VEN3 = Kind(
    "ven", "An OpenADR 3 client (VEN)", "OpenADR 3.1.0, 3.0.1",
    "The node is its VTN: it reads events here, and reports. Its client secret is made here.",
    "openadr3", ("identity", "register", "connect"), _ven3_fields, _make_ven3,
    '[adapters]\nallow = ["openadr3"]\n[adapters.settings.openadr3.http]\nport = 8887', "publish-by-openadr", "http",
)  # fmt: skip


def _ven2_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        TITLE,
        Field("model", "What it reports of", "select", options=model_options(node, caller.organisation, *_VEN_MODELS),
              value="meter"),
        Field("venID", "venID", hint="What it will be known by on the wire.", most=128, placeholder="ven-17"),
        Field("certificate", "Its certificate", "textarea", "PEM, as its maker or an authority gave it; no key.",
              most=MAX_CERTIFICATE, file=".pem,.crt,.cer", placeholder="-----BEGIN CERTIFICATE-----"),
        _programme_field(node, caller),
        Field("signature", "Signatures of messages", "select", options=(
            ("settings", "as the settings say"), ("verified", "verified where there are some"),
            ("required", "required")), value="settings", more=True),
    )  # fmt: skip


async def _make_ven2(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    _may_enrol(request.user, given["programme"])
    if not _WORD.fullmatch(given["venID"]):
        raise Invalid("venID: no blanks")
    at = door(node, request, "openadr2", "vtn")
    if at is None:
        raise Invalid("the adapter does not listen yet: see Connections for why")
    own = (one for one in node.things.of_adapter("openadr2") if one.organisation == request.user.organisation)
    if any(one.connection.get("venID") == given["venID"] for one in own):
        raise Invalid("venID: it is taken, choose another")
    async with speaker(request, node, NewPrincipal("device", f"VEN {given['title']}"[:100], ("device",))) as ven:
        await know(request, node, ven.id, given["certificate"])
        connection = {"venID": given["venID"]}
        if given["signature"] != "settings":
            connection["signature"] = given["signature"]
        thing = await register(request, node, given["title"], given["model"], "openadr2", connection, (ven.id,))
        words = await _enrol(request, node, given["programme"], thing)
    path = str(section(node, "openadr2").get("path", "/OpenADR2/Simple/2.0b"))
    enter = (
        Enter("VTN", at.url("http", path)),
        Enter("VTN id", str(section(node, "openadr2").get("vtn_id", "GRIDSPINE"))),
        Enter("venID, if it asks", given["venID"]),
    )
    return Made((thing,), enter, words, at.own_certificate)


VEN2 = Kind(
    "ven2", "An OpenADR 2.0b client (VEN)", "OpenADR 2.0b",
    "The node is its VTN: it polls here, and proves itself by its own certificate.",
    "openadr2", ("identity-node", "register", "connect"), _ven2_fields, _make_ven2,
    '[adapters]\nallow = ["openadr2"]\n[adapters.settings.openadr2.vtn]\nport = 8443\ntls = true\nclient = "required"\n'
    'ca = ["/etc/gridspine/ven-ca.pem"]\ncertificate = "/etc/gridspine/vtn.crt"\nkey = "/etc/gridspine/vtn.key"',
    "serve-openadr-2-vens", "vtn",
)  # fmt: skip


# -- a roaming partner ---------------------------------------------------------------------------------------------


def _partner_fields(node: Node, caller: Caller) -> Sequence[Field]:
    return (
        Field("name", "Name", hint="What it is called here: small letters, digits and hyphens.", most=40,
              placeholder="brightfield"),
        Field("how", "Who begins", "select", options=(
            ("invite", "the partner: invite it"),
            ("register", "the node: register there")), value="invite"),
        Field("party", "Who it is", hint="Country and party: it registers as that only. Several by commas.",
              needed=False, placeholder="DE BRF"),
        Field("url", "Where its versions are", "url", "For registering there: as it gave it.", needed=False, most=2_000,
              placeholder="https://partner.example.org/ocpi/versions"),
        Field("token", "The token that it gave", "password", "For registering there. It counts once, and is not kept.",
              needed=False, most=64),
    )  # fmt: skip


async def _make_partner(request: PortalRequest, node: Node, given: Mapping[str, Any]) -> Made:
    name = given["name"]
    if not _NAME.fullmatch(name):
        raise Invalid("name: small letters, digits and hyphens are needed")
    invites = given["how"] == "invite"
    for field in ("party",) if invites else ("url", "token"):
        if not given[field]:
            raise Invalid(f"{field}: this is needed {'to invite it' if invites else 'where the node begins'}")
    wanted = ("party",) if invites else ("url", "token", "party")
    asked = {field: given[field] for field in wanted if given[field]}
    if door(node, request, "ocpi", "http") is None:
        raise Invalid("the adapter does not listen yet: see Connections for why")
    thing = f"urn:gridspine:partner:{name}"
    known = node.things.roll.get(thing)
    is_new = known is None or known.retired or known.organisation != request.user.organisation
    if is_new:
        await register(request, node, name, "roaming_partner", "ocpi", {"partner": name}, id=thing)
    try:
        said = await _acted(request, node, thing, given["how"], asked)
    except GridspineError:
        if is_new:
            await node.things.retire(thing, actor=request.user.principal, reason="connecting it was refused halfway")
        raise
    if invites:
        enter = (Enter("Address of the versions", said["url"]), Enter("Token", said["token"], secret=True))
        return Made((thing,), enter, ("The token counts once, for seven days: tell it where others do not read it.",))
    roles = ", ".join(f"{one['name']} ({one['role']} {one['party']})" for one in said.get("roles", ()))
    words = [f"Registered by OCPI {said.get('version', '')}: {roles}."]
    if said.get("problem"):
        words.append(str(said["problem"]))
    words.append("Its charging points wait to be taken in, as announced devices do: see Waiting.")
    return Made((thing,), (), words)


async def _acted(request: PortalRequest, node: Node, thing: str, action: str, given: Any) -> dict[str, Any]:
    """Have a partner's Thing act, and return what came of it; raise why not."""
    status: ActionStatus = await invoke(node, request, thing, action, given)
    invocation, until_us = status.href.rpartition("/")[2], node.clock.monotonic_us() + round(_PATIENCE_S * US)
    while status.status in {"pending", "running"}:
        if node.clock.monotonic_us() > until_us:
            raise Unavailable("the partner has not answered yet: look at its Thing, or send this again")
        await node.clock.sleep(_LOOK_S)
        status = await query_action.fn(request, node, thing, action, invocation)
    if status.status == "failed":
        raise _error(status.error or {})
    found: dict[str, Any] = status.output or {}
    return found


def _error(problem: Mapping[str, Any]) -> GridspineError:
    detail = str(problem.get("detail", "it failed"))
    kinds: dict[Any, type[GridspineError]] = {400: Invalid, 404: NotFound, 409: Conflict}
    return kinds.get(problem.get("status"), Unavailable)(detail)


PARTNER = Kind(
    "roaming-partner", "A roaming partner", "OCPI 2.2.1, 2.3.0",
    "Another operator of charge points, or a provider for drivers. Whoever is invited registers.",
    "ocpi", ("register", "connect", "command"), _partner_fields, _make_partner,
    '[adapters]\nallow = ["ocpi"]\n[adapters.settings.ocpi]\ncountry_code = "NL"\nparty_id = "NSN"\n'
    'name = "Northside Networks"\nurl = "https://roaming.example.org"\n'
    'http = {host = "0.0.0.0", port = 8890, tls = true}',
    "roam-by-ocpi", "http",
)  # fmt: skip
