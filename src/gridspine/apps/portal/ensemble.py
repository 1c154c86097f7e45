"""Pages of ensembles: one built by criteria, saved ones, and who is in one now."""

from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.ensemble import NewEnsemble, list_ensembles, numbers_of, remove_ensemble, save_ensemble
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of, redirect_part
from gridspine.apps.portal.display import known_name, value_text
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.energy.criteria import Capability, Condition, Criteria
from gridspine.energy.ensemble import Ensemble, Gathered
from gridspine.kernel.errors import Invalid
from gridspine.things.directory import Thing
from gridspine.things.place import Circle, Place

PAGE_MEMBERS = 50
OPERATORS = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least", "==": "equal to"}


@get("/portal/ensembles")
async def ensembles_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List saved ensembles, and show the form that builds one."""
    saved = await list_ensembles.fn(request, node)
    models = node.things.models.list(request.user.organisation)
    points = sorted({point.name for model in models for point in model.points})
    return page(
        request, node, "ensembles.html",
        current="ensembles", saved=saved, models=models, points=points, operators=OPERATORS,
        names={one.by: known_name(node, request.user, one.by) for one in saved},
        words={one.id: in_words(node, one.criteria, request.user.organisation) for one in saved},
    )  # fmt: skip


@post("/portal/ensembles", status_code=200)
async def build(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Gather an ensemble once (``verb`` gather), or save it and go to it (save)."""
    fields = await form(request)
    criteria = criteria_of(fields)
    if fields.get("verb") == "save":
        hold_s = number_of(fields.get("hold", "") or "10", "Hold")
        kept = await save_ensemble.fn(request, node, NewEnsemble(fields.get("title", ""), criteria, hold_s))
        return redirect_part(f"/portal/ensembles/{kept.id}")
    found = await node.ensembles.gather(criteria, numbers_of(node, request.user))
    return page(request, node, "parts/members.html", **_members(node, found, 0), where="")


@get("/portal/ensembles/{ensemble_id:str}")
async def ensemble_page(
    request: PortalRequest, node: TheNode, ensemble_id: FromPath[str], start: FromQuery[int] = 0
) -> Response[Any]:
    """Show a saved ensemble: members and sums now, and who joins and leaves."""
    numbers = numbers_of(node, request.user)
    ensemble = await node.ensembles.get(ensemble_id, request.user.organisation)
    found = await node.ensembles.gather(ensemble.criteria, numbers, ensemble=ensemble.id)
    where = f"/portal/ensembles/{quote(ensemble.id, safe=':')}"
    context = _members(node, found, max(0, min(start, len(found.members) - 1)))
    if is_part(request):
        return page(request, node, "parts/members.html", **context, where=where)
    return page(
        request, node, "ensemble.html", current="ensembles", ensemble=ensemble, where=where,
        words=in_words(node, ensemble.criteria, request.user.organisation),
        by=known_name(node, request.user, ensemble.by), **context,
    )  # fmt: skip


@post("/portal/ensembles/{ensemble_id:str}/remove", status_code=200)
async def remove(request: PortalRequest, node: TheNode, ensemble_id: FromPath[str]) -> Response[Any]:
    """Forget a saved ensemble."""
    await remove_ensemble.fn(request, node, ensemble_id)
    return redirect_part("/portal/ensembles")


def criteria_of(fields: dict[str, str]) -> Criteria:
    """Return the criteria that a form says; raise `Invalid` naming the field."""
    can = None
    if fields.get("direction") in {"shed", "raise"}:
        least_w = number_of(fields.get("at_least_kw", "") or "0", "At least") * 1000
        for_s = number_of(fields.get("minutes", "") or "0", "For") * 60
        can = Capability(fields["direction"], least_w, for_s, fields.get("start", ""))  # type: ignore[arg-type]
    place = None
    at = [fields.get(name, "") for name in ("latitude", "longitude", "radius_km")]
    if any(at):
        latitude, longitude, radius_km = (
            number_of(text, name) for text, name in zip(at, ("Latitude", "Longitude", "Radius"), strict=True)
        )
        place = Place(circle=Circle(latitude, longitude, radius_km * 1000))
    state: tuple[Condition, ...] = ()
    if fields.get("point"):
        if fields.get("op") not in OPERATORS:
            raise Invalid("Is: choose how the value is compared")
        limit = number_of(fields.get("value", ""), "Value")
        state = (Condition(fields["point"], fields["op"], limit),)  # type: ignore[arg-type]
    age_s = number_of(fields.get("max_age", "") or "300", "No older than")
    models = (fields["model"],) if fields.get("model") else ()
    criteria = Criteria(models=models, place=place, state=state, can=can, max_age_s=age_s)
    criteria.check()
    return criteria


def in_words(node: Node, criteria: Criteria, organisation: str) -> list[str]:
    """Return criteria as people read them."""
    words = []
    for id_ in criteria.models:
        model = node.things.models.get(id_, organisation)
        words.append(f"of the model {model.title if model else id_}")
    words += [f"with a point of {name.replace('_', ' ')}" for name in criteria.quantities]
    words += [f"with the point {name}" for name in criteria.points]
    words += [f"{one.point} {OPERATORS.get(one.op, one.op)} {one.value:g} {one.unit}".strip() for one in criteria.state]
    if can := criteria.can:
        words.append(
            f"can {can.direction} at least {value_text(can.at_least_w, 'W')} for {can.for_s / 60:g} min"
            + (f" from {can.from_}" if can.from_ else " from now")
        )
    if criteria.place and (circle := criteria.place.circle):
        words.append(f"within {circle.radius_m / 1000:g} km of {circle.latitude:.4f}°, {circle.longitude:.4f}°")
    elif criteria.place:
        words.append("inside " + ("a box" if criteria.place.bbox else "an area"))
    return words or ["every Thing"]


def _members(node: Node, found: Gathered, start: int) -> dict[str, Any]:
    names, part = node.points.things(), slice(start, start + PAGE_MEMBERS)
    rows = []
    for number, power, shed, more, energy in found.rows(part):
        thing: Thing = node.things.get(names[number])
        texts = [value_text(value, unit) for value, unit in ((power, "W"), (shed, "W"), (more, "W"), (energy, "Wh"))]
        rows.append((thing, texts))
    sums = found.sums()
    tiles = [("Members", f"{int(sums['count']):d}"), ("Power now", value_text(sums["power_w"], "W"))]
    tiles += [("Can shed", value_text(sums["shed_w"], "W")), ("Can raise", value_text(sums["raise_w"], "W"))]
    tiles += [("Energy stored", value_text(sums["energy_wh"], "Wh"))]
    return {
        "rows": rows, "tiles": tiles, "unknown": int(sums["power_unknown"]), "considered": found.considered,
        "left_out": sorted(found.left_out.items(), key=lambda one: -one[1]), "start": start,
        "size": PAGE_MEMBERS, "count": len(found.members),
    }  # fmt: skip


class EnsembleFeed:
    """Who joins and who leaves a saved ensemble, as events ``ensemble``; ``over`` says why there are no more."""

    def __init__(self, node: Node, ensemble: Ensemble) -> None:
        self._node, self._ensemble = node, ensemble
        self._follower = node.ensembles.follow(ensemble)
        self._begun = False

    def poll(self) -> list[tuple[str, Any]]:
        """Return an event for each change; the first tells how many there are, and not who."""
        events: list[tuple[str, Any]] = []
        for change in self._follower.changes():
            told = msgspec.to_builtins(change)
            for side in ("joined", "left"):
                told[side] = [self._named(id_) for id_ in told[side][:PAGE_MEMBERS]] if self._begun else []
            told["changed"] = self._begun and bool(change.joined or change.left)
            self._begun = True
            events.append(("ensemble", told))
        if self._follower.over:
            events.append(("ensemble", {"over": self._follower.over}))
        return events

    def close(self) -> None:
        """Follow no more."""
        self._node.ensembles.leave(self._ensemble, self._follower)

    def _named(self, id_: str) -> dict[str, str]:
        return {"id": id_, "title": self._node.things.get(id_).title}
