"""The form of a site as data: its connection point, the Things behind it, and what its envelopes limit by default."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from gridspine.apps.api.thing import readable
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_form import Field
from gridspine.energy.control import LIMITS, MAX_W, WIRE_NAMES, Control, made_of
from gridspine.energy.plant import ADAPTER as PLANT
from gridspine.energy.site import MAX_POINT_ID, MAX_THINGS, MAX_TITLE, Site
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.things.directory import Thing

MAX_OFFERED, MAX_LOOKED = 60, 2_000
"""Things offered to be ticked at most, by title, of so many that are looked at; others are named by their ids."""
_LABELS = {"import_limit_w": "Import", "export_limit_w": "Export", "generation_limit_w": "Generate",
           "load_limit_w": "Take"}  # fmt: skip
_WATTS: Mapping[str, Any] = {"low": 0, "high": MAX_W, "whole": False, "needed": False, "or_none": True}

ENVELOPE: Sequence[Field] = tuple(
    Field(f"default.{WIRE_NAMES[mode]}", f"{_LABELS[mode]} at most [W]", "number", **_WATTS) for mode in LIMITS
)
"""The limits that an envelope's default can have."""
ENVELOPE_TITLE = Field("title", "Title", hint="What people call it.", most=200)


def site_fields(node: Node, caller: Caller, site: Site | None = None) -> Sequence[Field]:
    """Return the fields of a site, filled in with what is known of ``site``."""
    known = site or Site(id="", organisation="", title="")
    offered = _offered(node, caller, known)
    ids = {one.id for one in offered}
    names = [(one.id, one.title) for one in offered]
    latitude, longitude = known.location or ("", "")
    return (
        Field("title", "Title", hint="What people call it, such as its address.", most=MAX_TITLE, value=known.title),
        Field("connectionPointId", "Connection point", hint="What the network calls it.", needed=False,
              most=MAX_POINT_ID, value=known.connection_point_id),
        Field("phases", "Phases", "select", options=(("3", "three"), ("2", "two"), ("1", "one")),
              value=str(known.phases)),
        Field("importLimitW", "Import at most [W]", "number", "What it may take from the grid. Empty: no limit.",
              value=_text(known.import_limit_w), **_WATTS),
        Field("exportLimitW", "Export at most [W]", "number", "What it may give to the grid. Empty: no limit.",
              value=_text(known.export_limit_w), **_WATTS),
        Field("things", "Things behind it", "choices", options=names, ticked=known.things,
              hint="" if names else "None of yours is free: each is behind one connection point at most."),
        Field("guard", "Guard", "select", "The Thing of these that keeps the limits by itself: it is told all of them.",
              options=names, value=known.guard, needed=False),
        Field("uncontrolledLoadW", "Other load [W]", "number",
              "What else behind it may take and nobody commands: set aside of import limits.",
              value=_text(known.uncontrolled_load_w), low=0, high=MAX_W, whole=False),
        Field("more", "More Things, by their ids", "textarea", "One a line.", needed=False, more=True, most=60_000,
              value="\n".join(one for one in known.things if one not in ids)),
        Field("latitude", "Latitude [°]", "number", value=_text(latitude), low=-90, high=90, whole=False, needed=False,
              or_none=True, more=True),
        Field("longitude", "Longitude [°]", "number", value=_text(longitude), low=-180, high=180, whole=False,
              needed=False, or_none=True, more=True),
    )  # fmt: skip


def site_of(found: Mapping[str, Any]) -> Site:
    """Return the site that a form says; raise `Invalid` naming the field."""
    at = found["latitude"], found["longitude"]
    if (at[0] is None) != (at[1] is None):
        raise Invalid(f"{'latitude' if at[0] is None else 'longitude'}: both are needed, or neither")
    things = tuple(dict.fromkeys([*found["things"], *found["more"].split()]))
    if len(things) > MAX_THINGS:
        raise Invalid(f"things: at most {MAX_THINGS} behind one connection point")
    if found["guard"] and found["guard"] not in things:
        raise Invalid("guard: tick it among the Things behind it, too")
    return Site(
        id="", organisation="", title=found["title"], connection_point_id=found["connectionPointId"],
        phases=int(found["phases"]), import_limit_w=found["importLimitW"], export_limit_w=found["exportLimitW"],
        uncontrolled_load_w=found["uncontrolledLoadW"], things=things, guard=found["guard"],
        location=None if at[0] is None else at,
    )  # fmt: skip


def default_of(found: Mapping[str, Any]) -> Control:
    """Return the limits that a form says of an envelope's default."""
    values = {mode: found[f"default.{WIRE_NAMES[mode]}"] for mode in LIMITS}
    return made_of({mode: value for mode, value in values.items() if value is not None})


def _offered(node: Node, caller: Caller, site: Site) -> list[Thing]:
    """Return the Things that may be behind ``site``, by title: those that are first, the others while there is room."""
    sites = node.controls.sites
    free = [
        one for one in islice(readable(node, caller, "thing.read"), MAX_LOOKED)
        if one.adapter != PLANT and not sites.of_thing(one.id)
    ]  # fmt: skip
    own = sites.things(site) if site.id else []
    free.sort(key=lambda one: (one.title.casefold(), one.id))
    return [*own, *free[: max(0, MAX_OFFERED - len(own))]]


def _text(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else format(value, ".15g")
