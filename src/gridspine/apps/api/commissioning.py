"""Commissioning: a Thing examined by its own readings, and the reports of it."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.examination import ExaminationQuestion
from gridspine.apps.node.node import Node
from gridspine.kernel.time import format_rfc3339
from gridspine.things.commissioning_report import Report


class FindingView(msgspec.Struct, frozen=True):
    """Something wrong, by name: reversed-ct, wrong-scale, swapped-phase, stale-clock, frozen, no-answer, implausible
    or no-effect. A *fault* keeps a Thing from being commissioned, a *doubt* is for the eyes.
    """

    code: str
    severity: str
    points: list[str]
    words: str
    cure: str
    evidence: dict[str, float]


class ReportView(msgspec.Struct, frozen=True):
    """A commissioning report; ``checks`` were made, ``unchecked`` says which could not be and why.

    ``readings`` and ``refused`` count them by point; ``cut``: there were more than were looked at.
    """

    id: str
    thing: str
    passed: bool
    role: str
    since: str
    at: str
    by: str
    readings: dict[str, int]
    refused: dict[str, int]
    findings: list[FindingView]
    checks: list[str]
    unchecked: dict[str, str]
    cut: bool
    command: str


@post("/things/{thing_id:str}/commissioning", summary="Examine a Thing", tags=["lifecycle"])
async def examine_thing(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[ExaminationQuestion]
) -> ReportView:
    """Examine a Thing by what it reported since a time; name what is wrong with it.

    With ``test`` it is given one command, upon a stated consent and within its window; the report says later whether a
    reading showed the effect.
    """
    thing = permitted(node, request, thing_id, "thing.manage")
    if data.test is not None:
        permitted(node, request, thing_id, "thing.command")
    other = permitted(node, request, data.reference.partition("/")[0], "thing.read") if data.reference else None
    report = await node.examinations.examine(thing, data, by=request.user.principal, reference=other)
    return report_view(node, report)


@get("/things/{thing_id:str}/commissioning", summary="List commissioning reports", tags=["lifecycle"])
async def list_reports(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> list[ReportView]:
    """List the reports of a Thing, the newest first."""
    thing = permitted(node, request, thing_id, "thing.read")
    return [report_view(node, one) for one in await node.lives.reports.of(thing)]


@get("/things/{thing_id:str}/commissioning/{report_id:str}", summary="Read a commissioning report", tags=["lifecycle"])
async def read_report(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], report_id: FromPath[str]
) -> ReportView:
    """Return a report, with what became of its test by now."""
    thing = permitted(node, request, thing_id, "thing.read")
    return report_view(node, await node.lives.reports.get(thing, report_id))


def report_view(node: Node, report: Report) -> ReportView:
    """Return a report as it is shown, with what became of its test."""
    report = node.examinations.judged(report)
    findings = [
        FindingView(one.code, one.severity, list(one.points), one.words, one.cure, one.evidence)
        for one in report.findings
    ]
    return ReportView(
        report.id, report.thing, report.passed, report.role, format_rfc3339(report.since_us),
        format_rfc3339(report.at_us), report.by, report.readings, report.refused, findings, list(report.made),
        {one.check: one.why for one in report.unchecked}, report.cut, report.command,
    )  # fmt: skip
