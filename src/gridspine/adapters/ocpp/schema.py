"""The official JSON schemas of OCPP, compiled: what each action's request and answer must look like.

They are read from the files of the PyPI package ``ocpp`` (extra ``ocpp``), of which nothing is imported: each is
compiled when it is first needed and then shared by all connections.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs

from gridspine.adapters.ocpp.wire import Code, Malformed, Version
from gridspine.kernel.errors import Unavailable

_FOLDERS: dict[Version, str] = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
_SUFFIX: dict[Version, str] = {"1.6": "", "2.0.1": "Request", "2.1": "Request"}
_CODES: dict[str, Code] = {
    "required": Code.OCCURRENCE,
    "minItems": Code.OCCURRENCE,
    "maxItems": Code.OCCURRENCE,
    "type": Code.TYPE,
    "additionalProperties": Code.FORMAT,
}
"""By the keyword of JSON Schema that fails; every other one constrains a value."""
_CODES_16 = _CODES | {"required": Code.PROTOCOL}
"""OCPP-J 1.6 §4.2.3 has a code for a payload that is incomplete: ProtocolError."""
_WORST = (Code.FORMAT, Code.PROTOCOL, Code.OCCURRENCE, Code.TYPE, Code.PROPERTY)
"""Of several faults the one that says most about the structure is answered."""

Part = Literal["request", "response"]


class Schemas:
    """The schemas of one version."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self._folder = _root() / _FOLDERS[version] / "schemas"
        self._codes: Mapping[str, Code] = _CODES_16 if version == "1.6" else _CODES
        self._compiled: dict[tuple[str, Part], Any] = {}
        self.actions = frozenset(self._actions())
        """Every action of the version, in either direction."""

    def check(self, action: str, part: Part, payload: Mapping[str, Any], id_: str = "") -> None:
        """Raise `Malformed`, to be answered under ``id_``, when ``payload`` is not what the schema wants."""
        validator = self._validator(action, part)
        try:
            if not validator.is_valid(payload):
                raise self._fault(validator, payload, id_)
        except ValueError as error:  # the library goes no deeper
            raise Malformed(Code.FORMAT, "the payload is nested too deeply", id_) from error

    def _fault(self, validator: Any, payload: Mapping[str, Any], id_: str) -> Malformed:
        found: dict[Code, str] = {}
        for error, _ in zip(validator.iter_errors(payload), range(32), strict=False):
            code = self._codes.get(error.kind.name, Code.PROPERTY)
            place = "/".join(str(part) for part in error.instance_path) or "payload"
            found.setdefault(code, f"{place[:100]}: {error.message[:140]}")
        code = next(one for one in _WORST if one in found)
        return Malformed(code, found[code], id_)

    def _validator(self, action: str, part: Part) -> Any:
        key = action, part
        found = self._compiled.get(key)
        if found is None:
            suffix = "Response" if part == "response" else _SUFFIX[self.version]
            path = self._folder / f"{action}{suffix}.json"
            if part == "request" and not path.is_file():
                path = self._folder / f"{action}.json"  # of a message that is not answered (2.1)
            schema = json.loads(path.read_text("utf-8-sig"))
            found = self._compiled[key] = jsonschema_rs.validator_for(schema, validate_formats=True)
        return found

    def _actions(self) -> list[str]:
        names = (path.stem for path in self._folder.glob("*.json"))
        return [name.removesuffix(_SUFFIX[self.version]) for name in names if not name.endswith("Response")]


@lru_cache(maxsize=3)
def schemas(version: Version) -> Schemas:
    """Return the schemas of ``version``; raise `Unavailable` when the package that has them is not installed."""
    return Schemas(version)


def _root() -> Path:
    found = find_spec("ocpp")
    if found is None or not found.submodule_search_locations:
        raise Unavailable("the adapter ocpp needs its schemas: install gridspine with the extra ocpp")
    return Path(next(iter(found.submodule_search_locations)))
