"""What clients and servers of IEEE 2030.5 send: XML documents, and what is in those that are taken."""

from target import Target, target

from gridspine.adapters.ieee2030_5.client.der_control import read_control, read_program
from gridspine.adapters.ieee2030_5.client.notified import read_notification
from gridspine.adapters.ieee2030_5.der_document import NAMES, der_readings, read_document
from gridspine.adapters.ieee2030_5.meter import point_of, read_meter, read_usage_point, readings_of
from gridspine.adapters.ieee2030_5.metering import newest, read_condition
from gridspine.adapters.ieee2030_5.wire import CSIP_AUS, SEP, Element, decode
from gridspine.kernel.errors import Invalid

_NOW_US = 1_767_225_600_000_000
_LFDI = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"
_KIND = "<ReadingType><accumulationBehaviour>3</accumulationBehaviour><commodity>1</commodity><dataQualifier>2"
_KIND += "</dataQualifier><flowDirection>19</flowDirection><kind>37</kind><phase>128</phase><powerOfTenMultiplier>-3"
_KIND += "</powerOfTenMultiplier><uom>38</uom></ReadingType>"
_READING = "<Reading><qualityFlags>0010</qualityFlags><timePeriod><duration>60</duration><start>1767225500</start>"
_READING += "</timePeriod><value>-140737488355328</value></Reading>"
_POWER = "<multiplier>0</multiplier><value>5000</value>"
_AT = "<dateTime>1767225500</dateTime>"
_INNER = {
    "MirrorUsagePoint": f"<mRID>AA00</mRID><roleFlags>0049</roleFlags><serviceCategoryKind>0</serviceCategoryKind><status>1"
    f"</status><deviceLFDI>{_LFDI}</deviceLFDI><MirrorMeterReading><mRID>BB00</mRID>{_READING}{_KIND}</MirrorMeterReading>",
    "MirrorMeterReading": f"<mRID>BB00</mRID><MirrorReadingSet><mRID>CC00</mRID>{_READING}</MirrorReadingSet>{_KIND}",
    "DERCapability": f"<modesSupported>0C</modesSupported><rtgMaxW>{_POWER}</rtgMaxW><type>4</type><c:doeModesSupported>0F"
    "</c:doeModesSupported>",
    "DERSettings": f"<setGradW>100</setGradW><setMaxW>{_POWER}</setMaxW><updatedTime>1767225500</updatedTime>",
    "DERStatus": f"<genConnectStatus>{_AT}<value>07</value></genConnectStatus><readingTime>1767225500</readingTime>"
    f"<stateOfChargeStatus>{_AT}<value>5000</value></stateOfChargeStatus>",
    "DERAvailability": f"<readingTime>1767225500</readingTime><statWAvail>{_POWER}</statWAvail>",
    "Condition": "<attributeIdentifier>0</attributeIdentifier><lowerThreshold>-1</lowerThreshold><upperThreshold>5000"
    "</upperThreshold>",
    "Notification": "<subscribedResource>/edev</subscribedResource><status>0</status><subscriptionURI>/edev/1/sub/1"
    "</subscriptionURI>",
}  # fmt: skip
_WORDS = [
    b"<!DOCTYPE a [", b"<!ENTITY x 'y'>]>", b"&x;", b"&#0;", b"<![CDATA[", b"]]>", b"<?xml version='1.0' encoding='utf-7'?>",
    b"xmlns=''", b"<value>", b"</value>", b"<multiplier>-9</multiplier>", b"99999999999999999999", b"0x1", b"<mRID>",
]  # fmt: skip


@target
def ieee2030_5_documents() -> Target:
    """A document, and what a server takes of it by its name; what is kept of a DER reads the same again."""

    def run(data: bytes) -> str:
        given = decode(data)
        return f"{given.name[:40]} {_taken(given)}"

    spaces = f'xmlns="{SEP}" xmlns:c="{CSIP_AUS["1.2"]}"'
    seeds = [f"<{name} {spaces}>{inner}</{name}>".encode() for name, inner in _INNER.items()]
    return Target(
        "ieee2030-5-documents",
        "IEEE 2030.5 documents",
        run,
        (Invalid,),
        seeds,
        _WORDS,
        xml=True,
        shape=lambda said: said,
    )


_BASE = f"<DERControlBase><opModConnect>true</opModConnect><opModTargetW>{_POWER}</opModTargetW><rampTms>100</rampTms>"
_BASE += f"<c:opModExpLimW>{_POWER}</c:opModExpLimW><opModMaxLimW>5000</opModMaxLimW></DERControlBase>"
_SAID = {
    "DERControl": "<mRID>AA00</mRID><creationTime>1767225000</creationTime><EventStatus><currentStatus>1</currentStatus>"
    "<dateTime>1767225000</dateTime><potentiallySuperseded>false</potentiallySuperseded></EventStatus><interval>"
    "<duration>600</duration><start>1767225500</start></interval><randomizeDuration>-60</randomizeDuration>"
    f"<randomizeStart>60</randomizeStart>{_BASE}",
    "DERProgram": "<mRID>AA01</mRID><description>P</description><primacy>3</primacy>",
    "DefaultDERControl": f"<mRID>AA02</mRID>{_BASE}<setGradW>27</setGradW>",
}  # fmt: skip


@target
def ieee2030_5_controls() -> Target:
    """What a utility's server says, and what becomes of it at its client: a control within its bounds, or none."""

    def run(data: bytes) -> str:
        given = decode(data)
        if given.name == "DERControl":
            found = read_control(given, 5_000.0)
            found.control.check("control")
            if found.until_us < found.from_us or (found.control.modes and found.problem):
                raise AssertionError("a control that cannot be is followed")
            return f"control {found.problem} {found.control.modes}"
        seen = read_program(given, given, [given], 5_000.0)
        seen.default.check("default")
        return f"program {seen.default.modes}"

    spaces = f'xmlns="{SEP}" xmlns:c="{CSIP_AUS["1.3"]}" responseRequired="03" replyTo="/rsp"'
    seeds = [f"<{name} {spaces}>{inner}</{name}>".encode() for name, inner in _SAID.items()]
    return Target(
        "ieee2030-5-controls", "IEEE 2030.5 controls", run, (Invalid,), seeds, _WORDS, xml=True, shape=lambda said: said
    )


def _taken(given: Element) -> str:
    if given.name in NAMES:
        inner = read_document(given, given.name)
        spaces = f'xmlns="{SEP}" xmlns:csipaus="{CSIP_AUS["1.2"]}"'
        again = decode(f"<{given.name} {spaces}>{inner}</{given.name}>".encode())
        if read_document(again, given.name) != inner:
            raise AssertionError("what is kept is not what it was")
        return str(len(der_readings(given)))
    if given.name == "MirrorUsagePoint":
        point = read_usage_point(given, "k")
        found = [
            reading
            for one in given.all("MirrorMeterReading")
            if (kind := point.meter(read_meter(one).mrid)) is not None
            for reading in readings_of(kind, one, _NOW_US)
        ]
        return f"{len(point.meters)} {len(found)}"
    if given.name == "MirrorMeterReading":
        kind = read_meter(given)
        found = list(readings_of(kind, given, _NOW_US))
        if (newest(given) is None) != (not found):
            raise AssertionError("the newest of some readings is none")
        return f"{point_of(kind)} {len(found)}"
    if given.name == "Condition":
        return f"condition {read_condition(given).lower > 0}"
    return f"told {read_notification(given)[2]}" if given.name == "Notification" else "other"
