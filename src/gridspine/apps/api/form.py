"""The form of twins: *adapter*, they talk to their devices; *emulator*, they behave like them; at one address."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.forms import MAX_AT_ONCE, FormChange, Outcome
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import GridspineError, NotFound, TooLarge
from gridspine.kernel.time import format_rfc3339
from gridspine.things.directory import Thing

_Reason = Annotated[str, msgspec.Meta(max_length=500)]


class NewForm(msgspec.Struct, frozen=True, rename={"step_s": "stepS"}, forbid_unknown_fields=True):
    """The form a twin is to have. Leases *end* with the old one, or are handed over (*hand-over*) to the emulator.

    ``seed`` (0: a random one) and ``stepS`` [s] are the emulator's; with ``external`` somebody outside emulates and
    sends readings on the channel *emulated*.
    """

    form: Literal["adapter", "emulator"]
    reason: _Reason = ""
    leases: Literal["end", "hand-over"] = "end"
    seed: int = 0
    step_s: float = 10.0
    external: bool = False


class NewForms(NewForm, frozen=True, rename={"step_s": "stepS"}, forbid_unknown_fields=True, kw_only=True):
    """The form the twins of ``things`` are to have; the rest as for one."""

    things: list[str]


class FormView(msgspec.Struct, frozen=True, rename="camel"):
    """A twin's form, since when, by whom and why; and, of one that is emulated, by what. ``problem``: why not."""

    thing: str
    form: str
    since: str | None = None
    by: str = ""
    reason: str = ""
    emulator: str = ""
    seed: int | None = None
    step_s: float | None = None
    problem: str = ""


@get("/things/{thing_id:str}/form", summary="Read the form of a twin", tags=["things"])
async def read_form(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> FormView:
    """Return whether a twin stands for its device or emulates it."""
    return form_view(node, permitted(node, request, thing_id, "thing.read"))


@post("/things/{thing_id:str}/form", status_code=200, summary="Change the form of a twin", tags=["things"])
async def change_form(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewForm]
) -> FormView:
    """Let a twin emulate its device, or stand for it again; its leases end first."""
    thing = permitted(node, request, thing_id, "thing.form")
    (outcome,) = await node.forms.change([thing], _wanted(data), request.user.principal)
    if isinstance(outcome, GridspineError):
        raise outcome
    return form_view(node, thing)


@post("/things/form", status_code=200, summary="Change the form of many twins", tags=["things"])
async def change_forms(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewForms]) -> list[FormView]:
    """Change the form of up to 10,000 twins; one that cannot change does not stop the others."""
    if len(data.things) > MAX_AT_ONCE:
        raise TooLarge(f"at most {MAX_AT_ONCE} Things at once: send several smaller requests")
    things = _permitted(node, request, data.things)
    outcomes = await node.forms.change(things, _wanted(data), request.user.principal)
    return [_answer(node, thing, outcome) for thing, outcome in zip(things, outcomes, strict=True)]


def _permitted(node: Node, request: Request[Any, Any, Any], ids: Sequence[str]) -> list[Thing]:
    """Return the Things; the policies look at organisation and devices only, so those alike are decided once."""
    things: list[Thing] = []
    decided: set[tuple[str, tuple[str, ...]]] = set()
    for id_ in ids:
        try:
            thing = node.things.get(id_)
        except NotFound:
            thing = permitted(node, request, id_, "thing.form")
        if (thing.organisation, thing.devices) not in decided:
            permitted(node, request, id_, "thing.form")
            decided.add((thing.organisation, thing.devices))
        things.append(thing)
    return things


def form_view(node: Node, thing: Thing) -> FormView:
    """Return a twin's form as it is shown."""
    known = node.forms.forms.get(thing.id)
    if known is None or known.organisation != thing.organisation:  # what it was under another owner is not told
        return FormView(thing.id, "adapter")
    cohort = node.forms.emulation.cohort(known.cohort) if known.form == "emulator" else None
    view = FormView(thing.id, known.form, format_rfc3339(known.since_us), known.by, known.reason)
    if cohort is None:
        return view
    emulator = "external" if cohort.external else cohort.model
    return msgspec.structs.replace(view, emulator=emulator, seed=cohort.seed, step_s=cohort.step_s)


def _answer(node: Node, thing: Thing, outcome: Outcome) -> FormView:
    problem = outcome.detail if isinstance(outcome, GridspineError) else ""
    return msgspec.structs.replace(form_view(node, thing), problem=problem)


def _wanted(data: NewForm) -> FormChange:
    return FormChange(data.form, data.reason, data.leases, data.seed, data.step_s, data.external)
