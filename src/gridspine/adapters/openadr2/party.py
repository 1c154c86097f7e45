"""EiRegisterParty at the VTN: who registers, again or no more."""

import msgspec

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.book import Registration, VenRecord
from gridspine.adapters.openadr2.desk import Asker, Desk
from gridspine.adapters.openadr2.problem import COMPLIANCE, INVALID_ID, NOT_REGISTERED, Refused
from gridspine.infra.runtime.clock import new_id
from gridspine.kernel.time import US


async def query(desk: Desk, asker: Asker, given: m.QueryRegistration) -> m.Message:
    """Tell what the VTN speaks; to one that is registered also as what."""
    known = None
    if len(asker.vens) == 1:
        known = asker.record(asker.vens[0]).registration
    response = m.Response(request_id=given.request_id)
    if known is None:
        return m.CreatedPartyRegistration(response=response, vtn_id=desk.settings.vtn_id, poll_us=_poll_us(desk))
    return m.CreatedPartyRegistration(
        response=response, registration_id=known.id, ven_id=asker.vens[0].id, vtn_id=desk.settings.vtn_id,
        poll_us=_poll_us(desk),
    )  # fmt: skip


async def create(desk: Desk, asker: Asker, given: m.CreatePartyRegistration) -> m.Message:
    """Register a VEN, or register it again."""
    ven = asker.ven(given.ven_id, given.ven_name)
    async with desk.turn(ven.id):
        record = asker.record(ven)
        known = record.registration
        if given.registration_id and (known is None or given.registration_id != known.id):
            raise Refused(INVALID_ID, "registrationID: it is not that of this VEN")
        if given.profile != "2.0b" or given.transport != "simpleHttp":
            raise Refused(COMPLIANCE, "oadrProfileName, oadrTransportName: 2.0b by simpleHttp is spoken here")
        address = desk.address_of(ven, given)
        again = known is not None and given.registration_id == known.id
        registration = Registration(
            known.id if again and known is not None else new_id(desk.clock), desk.clock.now_us(), given.ven_name[:128],
            address, given.report_only, given.xml_signature, asker.certificate if address else b"",
        )  # fmt: skip
        # What registers anew knows nothing any more of what it was told; one that registers again does.
        kept = record if again else msgspec.structs.replace(record, told={}, asked={})
        await desk.put(ven, msgspec.structs.replace(kept, registration=registration))
    return m.CreatedPartyRegistration(
        response=m.Response(request_id=given.request_id), registration_id=registration.id, ven_id=ven.id,
        vtn_id=desk.settings.vtn_id, poll_us=_poll_us(desk),
    )  # fmt: skip


async def cancel(desk: Desk, asker: Asker, given: m.CancelPartyRegistration) -> m.Message:
    """End a registration: the VEN is told of nothing any more, what it said before stands."""
    ven = asker.ven(given.ven_id)
    async with desk.turn(ven.id):
        record = asker.record(ven)
        if record.registration is None:
            raise Refused(NOT_REGISTERED, "you are not registered")
        if record.registration.id != given.registration_id:
            raise Refused(INVALID_ID, "registrationID: it is not that of this VEN")
        await desk.put(ven, VenRecord(ven.thing, answered=record.answered, opts=record.opts, numbered=record.numbered))
    response = m.Response(request_id=given.request_id)
    return m.CanceledPartyRegistration(response=response, registration_id=given.registration_id, ven_id=ven.id)


def _poll_us(desk: Desk) -> int:
    return desk.settings.poll_s * US
