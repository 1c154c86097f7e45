"""`Models`: the Thing Models of the node, those it comes with and those that organisations registered.

A model is never changed: numbers of points follow the order of its names. Another one gets another id.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Conflict, Invalid, Overloaded, TooLarge
from gridspine.things.model import PointModel, ThingModel, parse_model
from gridspine.things.point import PointTable

DERIVED = "urn:gridspine:model:sha256-"
"""What ids of derived models begin with; they say what the points are, and belong to nobody."""
MAX_MODEL_BYTES, MAX_POINTS = 262_144, 1_000
MAX_BROUGHT = 1_000
"""Models that one organisation may bring, registered and derived."""


class RegisteredModel(msgspec.Struct, frozen=True, rename="camel"):
    """A Thing Model of ``organisation`` ("": anybody's); ``by`` is the organisation that brought it."""

    id: str
    organisation: str
    document: dict[str, Any]
    created_us: int
    by: str = ""


class Models:
    """All models known; those in ``points`` when this is made are the node's own. Lives on the event loop."""

    def __init__(self, registry: Registry, points: PointTable, clock: Clock) -> None:
        self._registry = registry
        self._points = points
        self._clock = clock
        self._registered: dict[str, str] = {}
        self._brought: Counter[str] = Counter()

    def load(self) -> None:
        """Read the registered models; blocks."""
        for one in self._registry.read(lambda tx: tx.list(RegisteredModel)):
            self._take_up(parse_model(one.document), one.organisation, one.by)

    def get(self, id: str, organisation: str) -> ThingModel | None:
        """Return a model that ``organisation`` may use, or None."""
        return self._points.model(id) if self._registered.get(id, "") in {"", organisation} else None

    def list(self, organisation: str) -> Sequence[ThingModel]:
        """Return the models that ``organisation`` may use, by id; not the derived ones."""
        models = (one for one in self._points.models() if not one.id.startswith(DERIVED))
        return sorted((one for one in models if self._registered.get(one.id, "") in {"", organisation}), key=_id)

    async def register(self, document: Mapping[str, Any], *, organisation: str, actor: str) -> ThingModel:
        """Keep a Thing Model; the same again changes nothing.

        Raises `Invalid` for a document that is none, `Conflict` when its id has another one.
        """
        if len(msgspec.json.encode(document)) > MAX_MODEL_BYTES:
            raise TooLarge(f"a Thing Model has at most {MAX_MODEL_BYTES} bytes")
        model = parse_model(document)
        if not 0 < len(model.points) <= MAX_POINTS:
            raise Invalid(f"properties: a model has 1 to {MAX_POINTS} with gs:readingType")
        if model.id.startswith(DERIVED):
            raise Invalid(f"id: what begins with {DERIVED} is for models derived from descriptions")
        return await self._keep(model, organisation, organisation, actor)

    async def derived(self, points: Sequence[PointModel], *, organisation: str, actor: str) -> ThingModel:
        """Return the model with exactly these points, made and kept where it is new.

        Its id is the hash of the points: whatever is described alike has one model, whoever brought it first.
        """
        if len(points) > MAX_POINTS:
            raise TooLarge(f"properties: at most {MAX_POINTS} may carry readings")
        ordered = tuple(sorted(points, key=lambda point: point.name))
        id_ = DERIVED + hashlib.sha256(msgspec.json.encode(ordered, order="sorted")).hexdigest()
        known = self._points.model(id_)
        if known is not None:
            return known
        model = parse_model(derived_document(id_, ordered))
        assert model.points == ordered, "a model is read as it was written"
        return await self._keep(model, "", organisation, actor)

    async def _keep(self, model: ThingModel, organisation: str, by: str, actor: str) -> ThingModel:
        now_us = self._clock.now_us()
        known = self._points.model(model.id)
        if known is not None:
            if known.document != model.document or self._registered.get(model.id) != organisation:
                raise Conflict(f"there is another model {model.id} already: give a new one a new id")
            return known
        if self._brought[by] >= MAX_BROUGHT:
            raise Overloaded(f"your organisation has brought {MAX_BROUGHT} models, and no more", retry_after_s=86_400)
        kept = RegisteredModel(model.id, organisation, model.document, now_us, by)

        def work(tx: Transaction) -> RegisteredModel:
            before = tx.get(RegisteredModel, model.id)
            if before is not None:
                if (before.document, before.organisation) != (kept.document, kept.organisation):
                    raise Conflict(f"there is another model {model.id} already: give a new one a new id")
                return before
            tx.put(kept, id=model.id, owner=organisation)
            data = {"title": model.title, "organisation": organisation, "points": [one.name for one in model.points]}
            tx.emit(EVENTS, model.id, Event(new_id(self._clock), "model.registered", now_us, model.id, actor, data))
            return kept

        await self._registry.run(work)
        self._take_up(model, organisation, by)
        return model

    def _take_up(self, model: ThingModel, organisation: str, by: str) -> None:
        self._points.add_model(model)
        if model.id not in self._registered:
            self._brought[by] += 1
        self._registered[model.id] = organisation


def derived_document(id: str, points: Sequence[PointModel]) -> dict[str, Any]:
    """Return a Thing Model that says what ``points`` are, and nothing else."""
    properties: dict[str, Any] = {}
    for point in points:
        affordance = {"title": point.title, "type": "number", "unit": point.reading_type.unit, "observable": True}
        affordance |= {"readOnly": point.lease is None}
        affordance["gs:readingType"] = msgspec.to_builtins(point.reading_type)
        affordance["gs:screen"] = msgspec.to_builtins(point.screen)
        if point.lease is not None:
            affordance["gs:lease"] = msgspec.to_builtins(point.lease)
        properties[point.name] = affordance
    context = ["https://www.w3.org/2022/wot/td/v1.1", {"gs": "https://gridspine.org/terms#"}]
    return {
        "@context": context, "@type": "tm:ThingModel", "id": id, "title": "As its Things are described",
        "version": {"model": "1"}, "properties": properties,
    }  # fmt: skip


def _id(model: ThingModel) -> str:
    return model.id
