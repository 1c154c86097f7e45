"""What a property's address answers, as a number."""

import math
from collections.abc import Mapping

import msgspec

from gridspine.kernel.errors import Invalid

MAX_BODY_BYTES = 65_536
_SHOWN = 60


def decode_value(body: bytes, media_type: str, codes: Mapping[str, float]) -> float:
    """Return the value in an answer; ``codes`` are the numbers of words, ``true`` and ``false`` among them.

    Raises `Invalid` for what is no number: a text without a code, an object, null, or beyond what a float can be.
    """
    media = media_type.partition(";")[0].strip().lower()
    if media == "text/plain":
        return _number(body.decode("utf-8", "replace").strip(), codes)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the answer is not JSON: {str(error)[:_SHOWN]}") from error
    return _number(value, codes)


def _number(value: object, codes: Mapping[str, float]) -> float:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, str) and value in codes:
        return codes[value]
    if isinstance(value, str) and not codes:
        try:
            return _finite(float(value))
        except ValueError:
            raise Invalid(f"{value[:_SHOWN]!r} is no number") from None
    if not isinstance(value, int | float):
        raise Invalid(f"{str(value)[:_SHOWN]!r} is neither a number nor a word that has one")
    try:
        return _finite(float(value))
    except OverflowError as error:
        raise Invalid("the number is too large") from error


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise Invalid("the number is not finite")
    return number
