"""EiEvent, EiOpt and OadrPoll at the VTN: what a VEN is told of events, and what it answers."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.book import MAX_KEPT, Answered, Opt, VenRecord
from gridspine.adapters.openadr2.desk import Asker, Desk
from gridspine.adapters.openadr2.event import Told, market_context
from gridspine.adapters.openadr2.problem import INVALID_ID, NOT_ALLOWED, OUT_OF_SEQUENCE, Refused
from gridspine.adapters.openadr2.ven import Ven
from gridspine.infra.runtime.clock import new_id


async def poll(desk: Desk, asker: Asker, given: m.Poll) -> m.Message:
    """Tell a VEN of its events where any of it is news, or unanswered for long; else that there is nothing."""
    ven, record = asker.registered(given.ven_id)
    assert record.registration is not None
    if not record.registration.report_only:
        view = await desk.view(ven, asker.source)
        if view.numbers != record.told or (view.events and view.unanswered(record) and not desk.waits(ven)):
            return await distribute(desk, asker, ven, new_id(desk.clock))
    return m.Answer(response=m.Response(), ven_id=ven.id)


async def request(desk: Desk, asker: Asker, given: m.RequestEvent) -> m.Message:
    """Tell a VEN of its events, also where there are none."""
    ven, _ = asker.registered(given.ven_id)
    return await distribute(desk, asker, ven, given.request_id, given.reply_limit)


async def distribute(
    desk: Desk, asker: Asker, ven: Ven, request_id: str, limit: int | None = None
) -> m.DistributeEvent:
    """Return all events of a VEN, at most ``limit``; that it was told is durable before it is."""
    async with desk.turn(ven.id):
        view, record = await desk.view(ven, asker.source), asker.record(ven)
        told = list(view.events.values())[:limit]
        numbers = view.numbers if len(told) == len(view.events) else {one.id: one.number for one in told}
        if numbers != record.told:
            await desk.put(ven, msgspec.structs.replace(record, told=numbers))
        desk.sent(ven)
    events = tuple(m.Event(event=one.event) for one in told)
    response = m.Response(request_id=request_id)
    return m.DistributeEvent(response=response, request_id=request_id, vtn_id=desk.settings.vtn_id, events=events)


async def created(desk: Desk, asker: Asker, given: m.CreatedEvent) -> m.Message:
    """Take what a VEN answers to events: all of it, or (where one of them is none of its) nothing."""
    ven, _ = asker.registered(given.ven_id)
    async with desk.turn(ven.id):
        view, record = await desk.view(ven, asker.source), asker.record(ven)
        answers: dict[str, Answered] = {}
        for one in given.responses:
            _find(view.events, record, one.event)
            answers[one.event.event_id] = Answered(one.event.modification_number, one.opt, one.code)
        await _take(desk, asker, ven, record, answers, {one: view.events[one] for one in answers if one in view.events})
    return m.Answer(response=m.Response(request_id=given.response.request_id), ven_id=ven.id)


async def create_opt(desk: Desk, asker: Asker, given: m.CreateOpt) -> m.Message:
    """Take an opt: of an event, or out of times. The same again changes nothing; another under its id replaces it."""
    ven, _ = asker.registered(given.ven_id)
    done = m.CreatedOpt(response=m.Response(request_id=given.request_id), opt_id=given.opt_id)
    said = msgspec.structs.replace(given, request_id="", created_us=0)
    digest = sha256(msgspec.msgpack.encode(said)).hexdigest()
    async with desk.turn(ven.id):
        record = asker.record(ven)
        known = record.opts.get(given.opt_id)
        if known is not None and known.digest == digest:
            return done
        if known is None and len(record.opts) >= MAX_KEPT:
            raise Refused(NOT_ALLOWED, f"{MAX_KEPT} opts stand: cancel some")
        view = await desk.view(ven, asker.source)
        found = _find(view.events, record, given.event) if given.event is not None else None
        if given.event is None and (given.opt != m.OPT_OUT or not given.available):
            raise Refused(NOT_ALLOWED, "an opt is of an event, or out of times: to opt in to times is not known here")
        if known is not None:
            await _undo(desk, asker, ven, known)
        times: tuple[str, ...] = ()
        event_id = given.event.event_id if given.event is not None else ""
        if found is not None and given.event is not None:
            answers = {event_id: Answered(given.event.modification_number, given.opt)}
            await _take(desk, asker, ven, record, answers, {event_id: found})
            record = asker.record(ven)
        elif given.event is None:
            times = await _opt_out(desk, asker, ven, given)
        opts = {**record.opts, given.opt_id: Opt(event_id, times, digest)}
        await desk.put(ven, msgspec.structs.replace(record, opts=opts))
    return done


async def cancel_opt(desk: Desk, asker: Asker, given: m.CancelOpt) -> m.Message:
    """Take an opt back."""
    ven, _ = asker.registered(given.ven_id)
    async with desk.turn(ven.id):
        record = asker.record(ven)
        known = record.opts.get(given.opt_id)
        if known is None:
            raise Refused(INVALID_ID, "optID: there is no such opt")
        await _undo(desk, asker, ven, known)
        opts = {key: one for key, one in record.opts.items() if key != given.opt_id}
        answered = {key: one for key, one in record.answered.items() if key != known.event_id}
        await desk.put(ven, msgspec.structs.replace(record, opts=opts, answered=answered))
    return m.CanceledOpt(response=m.Response(request_id=given.request_id), opt_id=given.opt_id)


def _find(events: Mapping[str, Told], record: VenRecord, said: m.QualifiedEvent) -> Told | None:
    """Return the event that a VEN speaks of, None for one that it was told and that is over; raise `Refused`."""
    found, told = events.get(said.event_id), record.told.get(said.event_id)
    if found is None and told is None:
        raise Refused(INVALID_ID, f"eventID: {said.event_id[:80]!r} is no event of this VEN")
    number = told if found is None else found.number
    if number != said.modification_number:
        raise Refused(OUT_OF_SEQUENCE, f"modificationNumber: of {said.event_id[:80]!r} it is {number} now")
    return found


async def _take(
    desk: Desk, asker: Asker, ven: Ven, record: VenRecord, answers: dict[str, Answered], told: Mapping[str, Told]
) -> None:
    """Keep answers, and let the node follow: an event is opted out of while any part of it is.

    Of an enrolment that is others' as well, of a site, what it answers is noted only.
    """
    answered = {**record.answered, **answers}
    for id_ in [one for one in answered if one not in record.told][: max(0, len(answered) - MAX_KEPT)]:
        del answered[id_]
    view = await desk.view(ven, asker.source)
    for noun in {one.noun for one in told.values() if one.event.descriptor.status != "cancelled"}:
        parts = [answered[key] for key, one in view.events.items() if one.noun == noun and key in answered]
        out = any(one.out for one in parts)
        reason = next((f"OpenADR 2.0b: {one.opt}, {one.code}" for one in parts if one.out), "")
        if not await desk.controls.following.opt(asker.source, ven.thing, noun, out=out, reason=reason) and out:
            desk.context.trace("note", f"{ven.thing}: {reason}: noted only, others are behind its site")
    await desk.put(ven, msgspec.structs.replace(record, answered=answered))


async def _opt_out(desk: Desk, asker: Asker, ven: Ven, given: m.CreateOpt) -> tuple[str, ...]:
    """Opt out of times; return their ids at the node, none for an enrolment that is others' as well."""
    following = desk.controls.following
    of = [
        part.programme.id
        for part in following.followed(asker.source, ven.thing).parts
        if given.market_context in {"", market_context(part.programme)}
    ]
    if not of:
        raise Refused(INVALID_ID, "marketContext: this VEN takes part in no such programme")
    reason = f"OpenADR 2.0b: {given.reason}"
    made: list[str] = []
    for one in given.available:
        until_us = one.start_us + one.duration_us
        for programme in of:
            times = (one.start_us, until_us)
            made.append(await following.opt_out_of(asker.source, ven.thing, programme, times, reason=reason))
    return tuple(one for one in made if one)


async def _undo(desk: Desk, asker: Asker, ven: Ven, opt: Opt) -> None:
    for id_ in opt.times:
        await desk.controls.following.opt_back(asker.source, ven.thing, id_)
    if opt.event_id:
        view = await desk.view(ven, asker.source)
        if (told := view.events.get(opt.event_id)) is not None:
            await desk.controls.following.opt(asker.source, ven.thing, told.noun, out=False)
