"""What node and SPARQL child say to each other, in frames."""

import msgspec

MAX_FRAME_BYTES = 64 << 20


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Let go of all that is said of ``subjects`` (IRIs, with what lies under each), then take N-Triples."""

    subjects: list[str]
    triples: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Answer a query, in the first of ``accept`` (media types) that its kind can have, ``max_bytes`` at most."""

    query: str
    accept: list[str]
    prefixes: dict[str, str]
    max_bytes: int


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """They were taken. (How many there are now is not said: the engine would count them one by one.)"""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer, in a media type."""

    body: bytes
    media_type: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why there is no answer: ``invalid``, ``not-acceptable``, ``too-large`` or ``unavailable``."""

    kind: str
    detail: str


Request = Put | Ask
Reply = Taken | Answer | Refused
