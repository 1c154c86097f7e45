"""XML in and out, numbers, ids: for any input."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ieee2030_5 import der_document, identity, power, wire
from gridspine.adapters.ieee2030_5.mrid import mrid, short
from gridspine.kernel.errors import Invalid

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40)


@given(st.binary(max_size=400) | TEXT.map(lambda t: f'<a xmlns="{wire.SEP}"><b>{t}</b></a>'.encode()))
def test_any_bytes_are_a_document_or_invalid(body) -> None:
    try:
        found = wire.decode(body)
    except Invalid:
        return
    assert found.name


@given(TEXT)
def test_what_is_written_is_read(words) -> None:
    made = wire.part("DERProgram", wire.text("description", words), href="/a?b=1&c=2")
    found = wire.decode(made.document("1.2"))
    assert found.find("description").text == words
    assert found.attributes["href"] == "/a?b=1&c=2"


def test_either_version_of_csip_aus_is_read_and_others_are_left_out() -> None:
    for version, namespace in wire.CSIP_AUS.items():
        body = f'<ConnectionPoint xmlns="{namespace}"><connectionPointId>x</connectionPointId></ConnectionPoint>'
        assert wire.decode(body.encode()).said("csipaus:connectionPointId") == "x"
        assert namespace.encode() in wire.part("DERList").document(version)
    odd = f'<EndDevice xmlns="{wire.SEP}" xmlns:o="urn:o"><o:a><lFDI>1</lFDI></o:a><sFDI>2</sFDI></EndDevice>'
    assert [one.name for one in wire.decode(odd.encode()).children] == ["sFDI"]


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><a xmlns="urn:ieee:std:2030.5:ns">&b;</a>',
        f'<a xmlns="{wire.SEP}">' * 50,
        f'<a xmlns="{wire.SEP}">' + "<b/>" * 30_000 + "</a>",
        "<a/>",
    ],
)
def test_what_is_dangerous_is_refused(body) -> None:
    with pytest.raises(Invalid):
        wire.decode(body.encode())


@given(st.floats(0, 1e12))
def test_a_limit_is_never_written_larger(value_w) -> None:
    value, multiplier = power.scaled(value_w, limit=True)
    assert abs(value) <= power.INT16
    written = Decimal(value).scaleb(multiplier)
    assert written <= round(Decimal(repr(value_w)), 6)
    assert float(written) >= value_w * (1 - 1 / 3200) - 1e-6


@given(st.integers(-32768, 32767), st.integers(-9, 9))
def test_powers_are_read_as_written(value, multiplier) -> None:
    body = (
        f'<opModTargetW xmlns="{wire.SEP}"><multiplier>{multiplier}</multiplier><value>{value}</value></opModTargetW>'
    )
    assert power.read_power(wire.decode(body.encode())) == pytest.approx(value * 10.0**multiplier, rel=1e-12)


def test_lfdi_sfdi_pin_and_nmi() -> None:
    assert identity.sfdi_of("0F3078CFDDAEE28DC20B95635DC116CC2A6D877F") == 40773583337  # of the documentation of CACTUS
    assert identity.check_pin(111115) == 111115
    for pin in (111111, -1, 1_000_000):
        with pytest.raises(Invalid):
            identity.check_pin(pin)
    for nmi in ("41020000002", "41020000026", "4102000000"):
        assert identity.check_nmi(nmi) == nmi
    for nmi in ("NOTAVALIDID", "41020000003", "", "410200000O"):
        with pytest.raises(Invalid):
            identity.check_nmi(nmi)


@given(st.integers(0, 99_999_999), TEXT)
def test_ids_are_the_same_at_each_asking_and_end_with_the_pen(pen, name) -> None:
    made = mrid("DERControl", name, pen=pen)
    assert (len(made), int(made[-8:])) == (32, pen)
    assert made == mrid("DERControl", name, pen=pen) != mrid("DERProgram", name, pen=pen)
    assert len(short(name)) == 16


def settings(**more):
    fields = {
        "setGradW": "<setGradW>100</setGradW>", "updatedTime": "<updatedTime>1700000000</updatedTime>",
        "setMaxW": "<setMaxW><multiplier>0</multiplier><value>5000</value></setMaxW>",
    } | more  # fmt: skip
    inner = "".join(fields.values())
    body = f'<DERSettings xmlns="{wire.SEP}" xmlns:c="https://csipaus.org/ns">{inner}</DERSettings>'
    return wire.decode(body.encode())


def test_documents_of_a_der_come_back_in_the_order_of_the_schema() -> None:
    doe, modes = "<c:doeModesEnabled>0f</c:doeModesEnabled>", "<modesEnabled>04</modesEnabled>"
    inner = der_document.read_document(settings(doe=doe, modes=modes, odd="<nonesuch>1</nonesuch>"), "DERSettings")
    names = [
        one.name
        for one in wire.decode(
            f'<a xmlns="{wire.SEP}" xmlns:csipaus="https://csipaus.org/ns">{inner}</a>'.encode()
        ).children
    ]
    assert names == ["modesEnabled", "setGradW", "setMaxW", "updatedTime", "csipaus:doeModesEnabled"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("updatedTime", ""), ("setGradW", "<setGradW>70000</setGradW>"), ("setGradW", "<setGradW>1e3</setGradW>"),
     ("setMaxW", "<setMaxW><value>1</value></setMaxW>")],
)  # fmt: skip
def test_an_incomplete_document_is_refused(field, value) -> None:
    with pytest.raises(Invalid, match=field):
        der_document.read_document(settings(**{field: value}), "DERSettings")
