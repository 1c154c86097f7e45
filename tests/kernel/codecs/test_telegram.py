"""A meter's telegram: objects by OBIS code, checksum, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.telegram import crc16, read_telegram
from gridspine.kernel.errors import Invalid

LINES = [
    "/ISK5\\2M550T-1011", "", "1-3:0.2.8(50)", "0-0:1.0.0(181106140429W)", "1-0:1.8.1(010830.511*kWh)",
    "1-0:1.8.2(002948.827*kWh)", "0-0:96.14.0(0002)", "1-0:1.7.0(00.033*kW)", "0-0:96.13.0()",
    "1-0:99.97.0(1)(0-0:96.7.19)(180529135630S)(0000002451*s)", "1-0:32.7.0(236.0*V)", "1-0:22.7.0(-00.676*kW)",
    "0-1:24.2.1(210606140010W)(02569.646*m3)", "!",
]  # fmt: skip


def telegram(*, crc: bool = True, end: str = "\r\n") -> str:
    text = end.join(LINES)
    return text + (f"{crc16(text.encode()):04X}" if crc else "") + end


@pytest.mark.parametrize("text", [telegram(), telegram(crc=False), telegram(crc=False, end="\n"), "\n" + telegram()])
def test_objects_are_found_by_their_codes(text) -> None:
    found = read_telegram(text)
    assert found["1-0:1.8.1"] == 10830.511
    assert found["1-0:1.7.0"] == 0.033
    assert found["1-0:22.7.0"] == -0.676
    assert found["0-1:24.2.1"] == 2569.646
    assert found["1-0:32.7.0"] == 236.0
    assert found["0-0:1.0.0"] == "181106140429W"
    assert found["0-0:96.13.0"] == ""


def test_a_checksum_known_from_elsewhere() -> None:
    """CRC-16/ARC of the usual nine digits, as every catalogue of checksums has it."""
    assert crc16(b"123456789") == 0xBB3D


@pytest.mark.parametrize("at", [5, 60, 120])
def test_a_telegram_that_was_garbled_is_refused(at) -> None:
    text = telegram()
    with pytest.raises(Invalid, match=r"checksum|no telegram"):
        read_telegram(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "{}", "/only a beginning", "!1234", "1-0:1.8.1(1*kWh)\n!"])
def test_what_is_no_telegram_is_refused(text) -> None:
    with pytest.raises(Invalid, match="no telegram"):
        read_telegram(text)


@given(st.text(max_size=300))
def test_any_text_is_a_telegram_or_refused(text) -> None:
    for body in (text, f"/{text}\n!\n"):
        try:
            read_telegram(body)
        except Invalid:
            continue
