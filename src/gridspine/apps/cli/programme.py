"""``gridspine programme``: programmes and their events; taking part, opting out, and what became of it."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from gridspine.apps.cli.client import Client, Data
from gridspine.apps.cli.document import read_object
from gridspine.apps.cli.site import ask, control
from gridspine.kernel.errors import Invalid

app = typer.Typer(help="Programmes: events, who takes part, what became of them.", no_args_is_help=True)
ProgrammeId = Annotated[str, typer.Argument(metavar="PROGRAMME", help="The programme's id.")]
EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id.")]
EnrolmentId = Annotated[str, typer.Argument(metavar="ENROLMENT", help="The enrolment's id.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The programme, as JSON.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Create a programme; print its id."""
    typer.echo(ask(data, client, "POST", "/programmes", read_object(file))["id"])


@app.command("list")
def list_(data: Data = None, client: Client = "operator") -> None:
    """List the programmes that the client's organisation runs, takes part in, or may enrol in."""
    for one in ask(data, client, "GET", "/programmes"):
        state = "retired" if one["retired"] else "open" if one["open"] else "closed"
        modes = ", ".join(one["modes"]) or "signals only"
        typer.echo(f"{one['id']}  {one['title']} of {one['owner']}: primacy {one['primacy']}, {modes} ({state})")


@app.command()
def publish(
    programme: ProgrammeId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The event, as JSON: title, intervals.")],
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Publish an event; print its id. What it commands within a day is asked for at once."""
    typer.echo(ask(data, client, "POST", f"{path_of(programme)}/events", read_object(file))["id"])


@app.command()
def events(programme: ProgrammeId, data: Data = None, client: Client = "operator") -> None:
    """List the events of a programme, the newest first."""
    for one in ask(data, client, "GET", f"{path_of(programme)}/events"):
        typer.echo(f"{one['id']}  {one['title']}: {one['status']}")
        for part in one["intervals"]:
            signals = ", ".join(f"{signal['type']} {signal['values']}" for signal in part["signals"])
            said = "; ".join(word for word in (signals, control(part["control"]) if part["control"] else "") if word)
            typer.echo(f"  {part['from']} … {part['until']}  {said}")


@app.command()
def cancel(
    programme: ProgrammeId, event: EventId, reason: Reason = "", data: Data = None, client: Client = "operator"
) -> None:
    """Cancel an event: its leases end at once."""
    ask(data, client, "POST", f"{path_of(programme)}/events/{quote(event, safe=':')}/cancel", {"reason": reason})


@app.command()
def responses(programme: ProgrammeId, event: EventId, data: Data = None, client: Client = "operator") -> None:
    """Show for each that an event is for whether it holds there, and the commands that came of it."""
    for one in ask(data, client, "GET", f"{path_of(programme)}/events/{quote(event, safe=':')}/responses"):
        typer.echo(
            f"{one['subject']} of {one['organisation']}: {one['state']}, {one['heldS']:g} of {one['askedS']:g} s"
        )
        for command in one["commands"]:
            typer.echo(f"  {command['thing']}/{command['point']}: {command['state']} {command['reason']}".rstrip())


@app.command()
def enrol(
    programme: ProgrammeId,
    until: Annotated[str, typer.Option(help="Until when (RFC 3339).")],
    site: Annotated[str, typer.Option(help="The site to enrol.")] = "",
    thing: Annotated[str, typer.Option(help="The Thing to enrol, where it is no site.")] = "",
    mode: Annotated[list[str] | None, typer.Option(help="What it may command; all that it has by default.")] = None,
    network: Annotated[bool, typer.Option("--network", help="Let it stand above the owner's own commands.")] = False,
    data: Data = None,
    client: Client = "owner",
) -> None:
    """Enrol a site or Thing of the client's organisation: who enrols consents. Print the enrolment's id and state."""
    if bool(site) == bool(thing):
        raise Invalid("name a --site or a --thing")
    body = {
        "until": until, "site": site, "thing": thing, "modes": mode or [],
        "authority": "network" if network else "aggregator",
    }  # fmt: skip
    made = ask(data, client, "POST", f"{path_of(programme)}/enrolments", body)
    typer.echo(f"{made['id']}  {made['state']}")


@app.command()
def enrolments(programme: ProgrammeId, data: Data = None, client: Client = "operator") -> None:
    """List who takes part in an own programme, or what of one's own takes part in another's."""
    for one in ask(data, client, "GET", f"{path_of(programme)}/enrolments"):
        outs = f", {len(one['optOuts'])} opt-outs" if one["optOuts"] else ""
        typer.echo(f"{one['id']}  {one['subject']} of {one['organisation']}: {one['state']} until {one['until']}{outs}")


@app.command()
def decide(
    programme: ProgrammeId,
    enrolment: EnrolmentId,
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="admit, refuse, end or aim.")],
    target: Annotated[list[str] | None, typer.Option(help="A word to aim events at it by; may be repeated.")] = None,
    reason: Reason = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Admit, refuse or end an enrolment in an own programme, or aim it by other words."""
    body = {"decision": decision, "targets": target, "reason": reason}
    made = ask(data, client, "POST", f"{_enrolment(programme, enrolment)}/decision", body)
    typer.echo(f"{made['id']}  {made['state']}")


@app.command()
def withdraw(
    programme: ProgrammeId, enrolment: EnrolmentId, reason: Reason = "", data: Data = None, client: Client = "owner"
) -> None:
    """Take an own site or Thing out of a programme: its leases end at once."""
    ask(data, client, "POST", f"{_enrolment(programme, enrolment)}/withdraw", {"reason": reason})


@app.command("opt-out")
def opt_out(
    programme: ProgrammeId,
    enrolment: EnrolmentId,
    event: Annotated[str, typer.Option(help="The event not to take part in.")] = "",
    until: Annotated[str, typer.Option(help="Or: take part in none until then (RFC 3339).")] = "",
    reason: Reason = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Let an own site or Thing not take part, in an event or for a time; print the opt-out's id."""
    body = {"event": event, "until": until, "reason": reason}
    made = ask(data, client, "POST", f"{_enrolment(programme, enrolment)}/opt-out", body)
    typer.echo(made["optOuts"][-1]["id"])


@app.command("opt-in")
def opt_in(
    programme: ProgrammeId,
    enrolment: EnrolmentId,
    event: Annotated[str, typer.Option(help="The event to take part in again.")] = "",
    opt: Annotated[str, typer.Option("--opt-out", help="Or: the opt-out to take back.")] = "",
    data: Data = None,
    client: Client = "operator",
) -> None:
    """Take an opt-out back: what is left of events is commanded again."""
    ask(data, client, "POST", f"{_enrolment(programme, enrolment)}/opt-in", {"event": event, "optOut": opt})


def path_of(programme: str) -> str:
    """Return where a programme is found."""
    return f"/programmes/{quote(programme, safe=':')}"


def _enrolment(programme: str, enrolment: str) -> str:
    return f"{path_of(programme)}/enrolments/{quote(enrolment, safe=':')}"
