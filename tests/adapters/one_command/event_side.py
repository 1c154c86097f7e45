"""What VENs and devices of IEEE 2030.5 read of a control, as it stands on the wire.

XML and JSON are read here by the standard library alone, and nothing of the adapters' codecs.
"""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from xml.etree import ElementTree

from csip_utility import CSIP, SEP, href, xml
from openadr2_vtn import m, wire

from gridspine.kernel.time import US

__all__ = ["CSIP", "SEP"]

# -- OpenADR -------------------------------------------------------------------------------------------------------


def moment_us(text):
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def lasts_us(text):
    hours, minutes, seconds = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", text).groups()
    return round((int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)) * US)


def payloads(interval):
    return {one["type"]: one["values"] for one in interval["payloads"]}


async def events_2(ven):
    """Return the events of OpenADR 2.0b that a VEN is given, with what its XML says, by the elements' names alone."""
    answer = await ven.post("EiEvent", wire.write(m.RequestEvent(request_id="e1", ven_id=ven.id)))
    assert answer.status_code == 200, answer.text
    return [_event_2(one) for one in _all(ElementTree.fromstring(answer.content), "eiEvent")], answer.text


def _event_2(event):
    (properties,) = _all(event, "properties")
    chance = [lasts_us(_text(one, "startafter")) for one in _all(properties, "tolerate")]
    signals = {}
    for one in _all(event, "eiEventSignal"):
        units = [found.text for found in _all(one, "itemUnits")] + [found.text for found in _all(one, "siScaleCode")]
        values = [float(_text(found, "value")) for found in _all(one, "signalPayload")]
        signals[_text(one, "signalName")] = values, units
    said = SimpleNamespace(
        event_id=_text(event, "eventID"), modification_number=int(_text(event, "modificationNumber"))
    )
    return SimpleNamespace(
        descriptor=said, status=_text(event, "eventStatus"), start_us=moment_us(_text(properties, "date-time")),
        duration_us=lasts_us(_text(next(_all(properties, "duration")), "duration")), chance_us=chance, signals=signals,
    )  # fmt: skip


def _all(element, name):
    return (one for one in element.iter() if one.tag.rpartition("}")[2] == name)


def _text(element, name):
    return next(one.text for one in _all(element, name) if one.text and one.text.strip())


# -- IEEE 2030.5 ---------------------------------------------------------------------------------------------------


def watts(element):
    return int(element.find(f"{SEP}value").text) * 10.0 ** int(element.find(f"{SEP}multiplier").text)


def span_us(control):
    start, lasts = (int(control.find(f"{SEP}interval/{SEP}{name}").text) for name in ("start", "duration"))
    return start * US, (start + lasts) * US


async def programs(http, path, leases=False):
    """Yield the DER programs of a device, each with its controls; that of its leases alone, or all others."""
    for link in xml(await http.get(f"{path}/fsa?l=9")).iter(f"{SEP}DERProgramListLink"):
        for one in xml(await http.get(f"{link.get('href')}?l=9")).iter(f"{SEP}DERProgram"):
            if (one.find(f"{SEP}description").text == "commands") != leases:
                continue
            listed = xml(await http.get(f"{href(one, 'DERControlListLink')}?l=9"))
            yield one, list(listed.iter(f"{SEP}DERControl"))


async def controls(http, path, leases=False):
    return [control async for _, found in programs(http, path, leases) for control in found]


def status_of(control):
    return int(control.find(f"{SEP}EventStatus/{SEP}currentStatus").text)
