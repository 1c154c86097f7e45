"""What requests with bodies of several kinds take, as the API's description says it."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

_TEXT = Schema(type=OpenAPIType.STRING)
_OBJECT = Schema(type=OpenAPIType.OBJECT)
_NEW_THING = Schema(
    type=OpenAPIType.OBJECT,
    title="NewThing",
    required=["model", "title"],
    properties={
        "title": _TEXT,
        "model": _TEXT,
        "id": _TEXT,
        "adapter": _TEXT,
        "connection": _OBJECT,
        "devices": Schema(type=OpenAPIType.ARRAY, items=_TEXT),
    },
)


@dataclass
class TakesThing(Operation):
    """A Thing of a known model, or a Thing Description."""

    def __post_init__(self) -> None:
        self.request_body = _body({"application/json": _NEW_THING, "application/td+json": _OBJECT})


@dataclass
class TakesThings(Operation):
    """Things of known models and Thing Descriptions, as a JSON array or one a line."""

    def __post_init__(self) -> None:
        many = Schema(type=OpenAPIType.ARRAY, items=_OBJECT)
        self.request_body = _body({"application/json": many, "application/x-ndjson": _TEXT})


@dataclass
class TakesDescription(Operation):
    """A Thing Description."""

    def __post_init__(self) -> None:
        self.request_body = _body({"application/td+json": _OBJECT})


@dataclass
class TakesPatch(Operation):
    """A JSON Merge Patch."""

    def __post_init__(self) -> None:
        self.request_body = _body({"application/merge-patch+json": _OBJECT})


@dataclass
class TakesModel(Operation):
    """A Thing Model, or what one is filled in with."""

    def __post_init__(self) -> None:
        self.request_body = _body({"application/json": _OBJECT, "application/tm+json": _OBJECT})


def _body(kinds: dict[str, Schema]) -> RequestBody:
    return RequestBody({media: OpenAPIMediaType(schema=schema) for media, schema in kinds.items()}, required=True)
