"""JSON Merge Patch. Source: RFC 7396, §2 (the algorithm) and §1 (null removes)."""

from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/merge-patch+json"


def patched(target: Any, patch: Any) -> Any:
    """Return ``target`` with ``patch`` merged into it; neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


def difference(before: Any, after: Any) -> Any:
    """Return the merge patch that makes ``after`` of ``before``, two objects without null members."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return after
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif before[name] != value or type(before[name]) is not type(value):
            patch[name] = difference(before[name], value)
    return patch
