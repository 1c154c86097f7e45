"""The API against its own description: no 500, no status, content type or body that the description does not name."""

import asyncio
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from matrix_requests import Scene
from running_node import World, settings_for
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DATA = os.environ.get("GRIDSPINE_SECURITY_DATA", "")
LEFT_OUT = {
    ("GET", "/products/{product_id}/stream"): "it never ends",
    (
        "GET",
        "/things",
    ): "collection and GeoJSON have other shapes than the array described: see test_directory",
    ("GET", "/events"): "it never ends",
    ("GET", "/events/{kind}"): "it never ends",
    ("POST", "/principals/{principal_id}/deactivate"): "it could end the one who asks",
    ("POST", "/principals/{principal_id}/roles"): "it could end the one who asks",
    ("POST", "/principals/{principal_id}/sign-out"): "it could end the one who asks",
}
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def thrown(
    url: str, headers: dict[str, str], document: dict[str, Any], examples: int
) -> tuple[dict[str, int], list[str]]:
    """Throw generated requests at every operation; return how many at each, and what was wrong. Blocks."""
    schema = schemathesis.openapi.from_dict(document)
    counts: dict[str, int] = {}
    wrong: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        name = f"{operation.method.upper()} {operation.path}"
        if (operation.method.upper(), operation.path) in LEFT_OUT:
            continue

        _throw(operation, name, url, headers, examples, counts, wrong)
    return counts, wrong


def _throw(
    operation: Any,
    name: str,
    url: str,
    headers: dict[str, str],
    examples: int,
    counts: dict[str, int],
    wrong: list[str],
) -> None:
    @settings(max_examples=examples, deadline=None, phases=PHASES, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy())
    def throw(case: Any) -> None:
        counts[name] = counts.get(name, 0) + 1
        try:
            answer = case.call(base_url=url, headers=headers, timeout=60)
            case.validate_response(answer, checks=CHECKS)
        except BaseExceptionGroup as error:  # one failed check each
            for one in error.exceptions:
                said = " ".join(str(one).split())[:400]
                if not any(known.startswith(f"{name}: {said[:60]}") for known in wrong):
                    wrong.append(f"{name}: {said}")

    throw()


async def described(folder: Path, examples: int, record: Callable[[str, object], None]) -> None:
    world = await World.start(folder, settings_for(archive=True))
    try:
        await Scene(world).set()
        document = (await world.op.get("/schema/openapi.json")).json()
        headers = {"authorization": world.op.headers["authorization"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts, wrong = await asyncio.to_thread(thrown, world.url, headers, document, examples)
        record("judged", {"passed": len(counts) * len(CHECKS) - len(wrong), "failed": len(wrong)})
        assert wrong == [], "\n\n".join(wrong)
        assert len(counts) >= 45
        assert (await world.op.get("/health")).status_code == 200
    finally:
        await world.stop()
    if DATA:
        found = {"operations": len(counts), "requests": sum(counts.values()), "left out": len(LEFT_OUT), "wrong": 0}
        (Path(DATA) / "security-description.json").write_text(json.dumps(found, indent=1) + "\n")


async def test_every_answer_is_as_described(tmp_path, record_property) -> None:
    await described(tmp_path / "data", 8, record_property)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_every_answer_is_as_described_to_many(tmp_path, record_property) -> None:
    await described(tmp_path / "data", 200, record_property)


def test_every_operation_names_its_refusals(tmp_path) -> None:
    from gridspine.apps.api.described import described as complete

    schema = {
        "paths": {"/a": {"get": {"responses": {"200": {}}}, "post": {"responses": {"201": {}, "400": {"old": 1}}}}}
    }
    found = complete(schema, frozenset({("GET", "/a")}))["paths"]["/a"]
    assert "401" not in found["get"]["responses"]
    assert {"400", "401", "403", "404", "409", "413", "415", "429"} <= set(found["post"]["responses"])
    assert "old" not in found["post"]["responses"]["400"]
