"""The VTN against the OpenAPI documents of OpenADR: no status, content type or body that they do not name."""

import asyncio
import warnings
from pathlib import Path

import pytest
import schemathesis.openapi
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from openadr3_said import event, made, program
from running_node import until
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DATA = Path(__file__).parents[2] / "data/openadr3"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 6
TAKEN = {401, 405, 413, 429}
"""Statuses of HTTP that the documents leave out and a server has all the same."""


class _Loader(yaml.SafeLoader):
    """Times stay texts, as they are in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [one for one in found if one[0] != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def document(edition):
    """Return the document of an edition, with what contradicts itself in it mended.

    3.1.0 asks of a ven and a resource that are answered for the ``objectType`` of the object and, at once, for that of
    the request: the latter is taken out of what is answered, and left in what is asked. It has 409 for a name that is
    taken everywhere but of a ven.
    """
    found = yaml.load((DATA / f"{edition}.yaml").read_text(), Loader=_Loader)
    schemas = found["components"]["schemas"]
    for name in ("BlVenRequest", "BlResourceRequest"):
        if name in schemas:
            answered = schemas[f"{name}Answered"] = {**schemas[name]}
            answered["required"] = [one for one in answered["required"] if one != "objectType"]
            answered["properties"] = {k: v for k, v in answered["properties"].items() if k != "objectType"}
            kind = "ven" if "Ven" in name else "resource"
            schemas[kind]["allOf"][1] = {"$ref": f"#/components/schemas/{name}Answered"}
    found["paths"]["/vens"]["post"]["responses"].setdefault(
        "409", found["paths"]["/programs"]["post"]["responses"]["409"]
    )
    return found


def throw(url, found, headers, answered):
    """Throw generated requests at every operation; return what was wrong, and at what. Blocks."""
    wrong, counts = [], {}
    for result in schemathesis.openapi.from_dict(found).get_all_operations():
        operation = result.ok()
        if operation.path == "/auth/token":
            continue

        name = f"{operation.method.upper()} {operation.path}"
        try:
            _throw(operation, name, url, headers, answered, counts)
        except Exception as error:
            wrong.append(f"{name}: {str(error)[:1500]}")
    return wrong, counts


def _throw(operation, name, url, headers, answered, counts):
    @seed(20260101)
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def one(case):
        answer = case.call(base_url=url, headers=headers)
        counts[name] = counts.get(name, 0) + 1
        answered.setdefault(name, set()).add(answer.status_code)
        if answer.status_code not in TAKEN:
            case.validate_response(answer, checks=CHECKS)

    one()


@pytest.mark.slow
@pytest.mark.parametrize("edition", ["3.1.0", "3.0.1"])
async def test_the_vtn_is_as_its_document_says(served, tmp_path, edition, record_property) -> None:
    async with served(tmp_path / "data", more={"mqtt": {}}) as vtn:
        await until(lambda: "mqtt.mqtt" in vtn.world.node.adapters.listening)
        await _is_as_it_says(vtn, edition, record_property)


async def _is_as_it_says(vtn, edition, record_property):
    bl = await vtn.client("operator", "owner")
    await made(bl, "/events", event(await program(bl)))
    headers, answered = {"authorization": bl.headers["authorization"]}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        url = f"{vtn.url}/{edition}"
        wrong, counts = await asyncio.to_thread(throw, url, document(edition), headers, answered)
    record_property("judged", {"passed": (len(counts) - len(wrong)) * len(CHECKS), "failed": len(wrong)})
    assert wrong == []
    assert len(counts) >= 30
    for name in ("POST /programs", "POST /vens"):
        assert 201 in answered[name], f"{name}: nothing generated was taken: {answered[name]}"
    if edition == "3.1.0":
        assert 200 in answered["GET /notifiers/mqtt/topics/programs"]
