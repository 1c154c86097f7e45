"""The last readings of a Thing as a SenML pack: for whoever wants time, unit and quality in a standard's own form.

Source: RFC 8428 (SenML), §5 JSON and §6 CBOR.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from litestar import Request, Response

from gridspine.apps.api.answer import JSON, Answer
from gridspine.apps.api.negotiate import preferred
from gridspine.apps.api.problems import response
from gridspine.apps.node.node import Node
from gridspine.kernel.codecs.senml import encode_senml
from gridspine.kernel.errors import NotAcceptable, NotFound
from gridspine.kernel.ids import point_id
from gridspine.things.directory import Thing
from gridspine.things.exposed import SENML_CBOR, SENML_JSON
from gridspine.things.twin import NEVER_US


def as_pack(node: Node, request: Request[Any, Any, Any], thing: Thing, name: str = "") -> Response[bytes] | None:
    """Return the last readings of a Thing (of one point: ``name``) when the caller prefers SenML to JSON."""
    media = senml_form(request.headers.get("accept", ""))
    if not media:
        return None
    known = [point.name for point in node.things.model(thing).points]
    if name and name not in known:
        raise NotFound(f"{thing.title} has no point {name!r}")
    return response(senml_answer(node, thing, [name] if name else known, media))


def senml_form(accept: str) -> str:
    """Return the SenML media type that is preferred to JSON, or ""."""
    if "senml" not in accept:
        return ""
    try:
        media = preferred(accept, (JSON, SENML_JSON, SENML_CBOR))
    except NotAcceptable:
        return ""
    return "" if media == JSON else media


def senml_answer(node: Node, thing: Thing, names: Iterable[str], media: str) -> Answer:
    """Return the last readings of points as a SenML pack (RFC 8428), quality in ``q_`` unless it is good."""
    wanted = set(names)
    placed = [(at, point) for at, point in enumerate(node.things.model(thing).points) if point.name in wanted]
    rows = [(point, node.twins.get(thing.first + at)) for at, point in placed]
    rows = [(point, twin) for point, twin in rows if twin.observed_us != NEVER_US and math.isfinite(twin.value)]
    body = encode_senml(
        [point_id(thing.id, point.name) for point, _ in rows],
        [point.reading_type.unit for point, _ in rows],
        np.arange(len(rows), dtype=np.int32),
        np.array([twin.observed_us for _, twin in rows], np.int64),
        np.array([twin.value for _, twin in rows], np.float64),
        np.array([twin.quality for _, twin in rows], np.uint16),
        cbor=media == SENML_CBOR,
    )
    return Answer(200, body, media)
