"""What an action is given, judged by its model's schema before anything is sent.

A model may be anybody's: its schema refers to nothing outside of itself, its patterns are bounded, and what is wrong is
told by place and rule, never by repeating the value, which may be a secret.

Source: W3C WoT Thing Description 1.1, §5.3.1.3 (ActionAffordance, ``input``): a DataSchema is JSON Schema in its terms.
"""

from functools import lru_cache
from typing import Any, NoReturn

import msgspec

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.things.action import ActionModel

_BACKTRACKS, _TOLD = 100_000, 5


def check_input(action: ActionModel, given: Any) -> None:
    """Raise `Invalid` naming what does not fit; `Conflict` where the model's schema cannot be read.

    Nothing at all is taken for an empty object, and for no input where the model names none.
    """
    if action.input is None:
        if given not in (None, {}):
            raise Invalid(f"{action.name} takes no input")
        return
    if given is None and action.input.get("type") == "object":
        given = {}
    validator = _compiled(msgspec.json.encode(action.input, order="deterministic"))
    if validator is None:
        raise Conflict(f"what {action.name} takes cannot be told: the schema in its model is no JSON Schema by itself")
    errors = []
    for error, _ in zip(validator.iter_errors(given), range(_TOLD), strict=False):
        place = "/".join(str(part)[:100] for part in error.instance_path) or "input"
        errors.append({"field": place, "description": error.message[:200]})
    if errors:
        raise Invalid(f"{errors[0]['field']}: {errors[0]['description']}", errors=errors)


@lru_cache(maxsize=512)
def _compiled(schema: bytes) -> Any:
    """Return what judges by ``schema``, None for one that cannot be read."""
    import jsonschema_rs  # not before somebody asks: it is large

    try:
        return jsonschema_rs.validator_for(
            msgspec.json.decode(schema), validate_formats=True, retriever=_nothing, mask="what was given",
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )  # fmt: skip
    except (ValueError, RecursionError):
        return None


def _nothing(uri: str) -> NoReturn:
    raise ValueError("a model's schema refers to nothing outside of itself")
