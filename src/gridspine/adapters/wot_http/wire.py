"""What an address answers, as numbers: the value itself, or values picked out of JSON or a meter's telegram."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gridspine.kernel.codecs.pick import Pick, picked, read_answer
from gridspine.kernel.errors import Invalid

MAX_BODY_BYTES = 65_536
_SHOWN = 60


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one point is read: at ``href``, in ``unit`` ("": the point's own).

    Without ``pick`` the answer is the value, words have ``codes``; with it the value is somewhere in an answer of
    ``form``. Points of the same ``href`` are read by one request.
    """

    href: str
    unit: str = ""
    codes: dict[str, float] = {}
    pick: Pick | None = None
    form: Literal["json", "telegram"] = "json"


def decode_values(body: bytes, media_type: str, forms: Mapping[str, Form]) -> dict[str, float | str]:
    """Return for each point what an answer says: its value, or in words why there is none."""
    documents: dict[str, Any] = {}
    values: dict[str, float | str] = {}
    for name, form in forms.items():
        try:
            if form.pick is None:
                values[name] = decode_value(body, media_type, form.codes)
                continue
            if form.form not in documents:
                documents[form.form] = _read(body, form.form)
            document = documents[form.form]
            if isinstance(document, Invalid):
                raise document
            values[name] = picked(document, form.pick)
        except Invalid as error:
            values[name] = error.detail
    return values


def pick_values(document: Any, forms: Mapping[str, Form]) -> dict[str, float | str]:
    """Return for each point what a document says, or in words why it says nothing; forms without a pick have none."""
    values: dict[str, float | str] = {}
    for name, form in forms.items():
        try:
            values[name] = picked(document, form.pick) if form.pick is not None else "its form says not where it is"
        except Invalid as error:
            values[name] = error.detail
    return values


def _read(body: bytes, form: str) -> Any:
    """Return an answer's document, or why it is none: a long one that is no good is not read again for each point."""
    try:
        return read_answer(body, form)
    except Invalid as error:
        return error


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
