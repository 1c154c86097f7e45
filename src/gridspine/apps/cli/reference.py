"""The reference pages, written from the code they describe: settings, routes, command line, Thing Models, mappings.

``python -m gridspine.apps.cli.reference docs/reference`` writes them; a test compares them with what is committed.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.routes import WebSocketRoute

from gridspine.apps.api.app import ROUTES, Framework, openapi_config
from gridspine.apps.api.token import token_routes
from gridspine.apps.cli.reference_adapters import adapters_page
from gridspine.apps.cli.reference_cli import cli_page
from gridspine.apps.cli.reference_lossiness import lossiness_page
from gridspine.apps.cli.reference_mappings import mappings_page
from gridspine.apps.cli.reference_models import models_page
from gridspine.apps.cli.reference_templates import templates_page
from gridspine.apps.edge.settings import EdgeSettings
from gridspine.apps.policies.entities import ROLES
from gridspine.infra.runtime.settings import PREFIX, Settings

_NAMED_LINE = re.compile(r"^(\w+): (.*(?:\n +\S.*)*)", re.MULTILINE)
_BY_HAND = "Written by `make docs` from the code; changes here are lost.\n"


def pages() -> dict[str, str]:
    """Return the reference pages by file name."""
    return {
        "settings.md": settings_page(),
        "http.md": http_page(),
        "cli.md": cli_page(_BY_HAND),
        "adapters.md": adapters_page(_BY_HAND),
        "lossiness.md": lossiness_page(_BY_HAND),
        "thing-models.md": models_page(_BY_HAND),
        "mappings.md": mappings_page(_BY_HAND),
        "templates.md": templates_page(_BY_HAND),
        "openapi.json": json.dumps(described_app().openapi_schema.to_schema(), indent=1, sort_keys=True) + "\n",
    }


def undocumented_settings(settings: type[msgspec.Struct]) -> list[str]:
    """Return the settings that their section's docstring does not name, with their section."""
    return [path for path, _, words in _settings(settings) if not words]


def settings_page() -> str:
    """Return the page of all settings: name in the file, environment variable, default, meaning."""
    lines = ["# Settings\n", _BY_HAND, inspect.cleandoc(inspect.getmodule(Settings).__doc__ or "") + "\n"]
    lines += ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for path, default, words in _settings(Settings):
        variable = PREFIX + path.upper().replace(".", "__")
        lines.append(f"| `{path}` | `{variable}` | `{default}` | {words} |")
    lines += [
        "\n## Settings of an edge\n",
        "In `edge.toml`, which `gridspine edge --settings` names; not by environment.\n",
    ]
    lines += ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{path}` | `{default}` | {words} |" for path, default, words in _settings(EdgeSettings)]
    return "\n".join(lines) + "\n"


def http_page() -> str:
    """Return the page of all HTTP and WebSocket routes of the API."""
    app = described_app()
    schema = app.openapi_schema.to_schema()
    lines = ["# HTTP routes\n", _BY_HAND, "The machine-readable form is served at `/schema/openapi.json`.\n"]
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in sorted(methods.items()):
            lines += [f"## {method.upper()} {path}\n", *_operation(operation, schema)]
    for route in sorted((one for one in app.routes if isinstance(one, WebSocketRoute)), key=lambda one: one.path):
        words = inspect.getdoc(route.route_handler.fn) or ""
        lines += [f"## WebSocket {route.path}\n", words + "\n"]
    return "\n".join(lines).rstrip() + "\n"


def undocumented_routes(app: Litestar) -> list[str]:
    """Return the routes of ``app`` without a description, as ``METHOD /path``; the framework's ``/schema`` apart."""
    paths = app.openapi_schema.to_schema()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, methods in sorted(paths.items())
        for method, operation in sorted(methods.items())
        if not path.startswith("/schema") and not (operation.get("description") or "").strip()
    ]
    sockets = (route for route in app.routes if isinstance(route, WebSocketRoute))
    return missing + [f"WebSocket {route.path}" for route in sockets if not inspect.getdoc(route.route_handler.fn)]


def described_app() -> Litestar:
    """Return the API as an application that can be described, and answers nothing."""
    no_identity: Any = None  # the routes are described here, never called
    return Framework(
        [*ROUTES, *token_routes(no_identity, scopes=ROLES)],
        dependencies={"node": Provide(lambda: None, sync_to_thread=False)},
        openapi_config=openapi_config(),
    )


def _settings(section: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, default and meaning of each setting, in the order of the code."""
    words = dict(_NAMED_LINE.findall(inspect.getdoc(section) or ""))
    for field in msgspec.structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{prefix}{field.name}.")
            continue
        made = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        default = msgspec.json.encode(made).decode() if made is not msgspec.NODEFAULT else "needed"
        yield prefix + field.name, default, " ".join(words.get(field.name, "").split())


def _operation(operation: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    summary, description = operation.get("summary", ""), operation.get("description", "")
    yield f"**{summary}.** {description}".rstrip() + "\n" if summary else f"{description}\n"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "| parameter | in | needed | meaning |"
        yield "|---|---|---|---|"
        for one in parameters:
            needed = "yes" if one.get("required") else "no"
            yield f"| `{one['name']}` | {one['in']} | {needed} | {one.get('description', '')} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    for media, content in sorted(body.items()):
        fields = _fields(content.get("schema", {}), schema)
        yield f"Body: `{media}`" + (f" with {', '.join(f'`{name}`' for name in fields)}" if fields else "") + "\n"
    answers = ", ".join(f"{code} {one.get('description', '')}" for code, one in sorted(operation["responses"].items()))
    yield f"Answers: {answers}.\n"


def _fields(body: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    name = str(body.get("$ref", "")).rpartition("/")[2]
    component = schema.get("components", {}).get("schemas", {}).get(name, body)
    return list(component.get("properties", {}))


def main(folder: str) -> None:
    """Write the pages into ``folder``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
