"""What roaming partners send: requests of OCPI, answers of theirs, and what stands in their heads and addresses."""

from typing import Any

import msgspec
from target import Target, target

from gridspine.adapters.ocpi import charging, command, credentials, location, tariff, token
from gridspine.adapters.ocpi.client import origin_of
from gridspine.adapters.ocpi.wire import (
    OcpiError,
    next_link,
    plain,
    read,
    read_envelope,
    read_page,
    read_query,
    read_time,
    read_tokens,
)
from gridspine.kernel.errors import Invalid

_KINDS: tuple[Any, ...] = (
    location.Location, charging.Session[charging.OldPrice], charging.Session[charging.Price],
    charging.Cdr[charging.OldPrice], charging.Cdr[charging.Price], tariff.OldTariff, tariff.Tariff, token.Token,
    credentials.Credentials, command.StartSession, command.ReserveNow, command.SetChargingProfile,
)  # fmt: skip
_AT = b'"2026-01-31T12:00:00Z"'
_SEEDS = (
    b'{"country_code":"NL","party_id":"CPO","id":"L","publish":true,"address":"a","city":"c","country":"NLD","coordinates":'
    b'{"latitude":"52.1","longitude":"4.35"},"time_zone":"Europe/Amsterdam","last_updated":'
    + _AT
    + b',"evses":[{"uid":'
    b'"E","status":"AVAILABLE","last_updated":' + _AT + b',"connectors":[{"id":"1","standard":"IEC_62196_T2","format":'
    b'"SOCKET","power_type":"AC_3_PHASE","max_voltage":230,"max_amperage":32,"last_updated":' + _AT + b"}]}]}",
    b'{"country_code":"DE","party_id":"MSP","uid":"U","type":"RFID","contract_id":"C","issuer":"I","valid":true,'
    b'"whitelist":"NEVER","last_updated":' + _AT + b"}",
    b'{"charging_profile":{"charging_rate_unit":"W","duration":900,"charging_profile_period":[{"start_period":0,'
    b'"limit":6.5}]},"response_url":"https://h/x"}',
    b'{"token":"t","url":"https://h/v","roles":[{"role":"CPO","business_details":{"name":"n"},"party_id":"CPO",'
    b'"country_code":"NL"}]}',
)


@target
def ocpi_requests() -> Target:
    """A body as each object of both versions; read again it is the same."""

    def run(data: bytes) -> str:
        value = plain(data)
        return "".join(_as(value, kind) for kind in _KINDS)

    return Target("ocpi-requests", "objects of OCPI 2.2.1 and 2.3.0", run, (OcpiError,), _SEEDS, shape=str)


def _as(value: Any, kind: Any) -> str:
    try:
        made = read(value, kind)
    except OcpiError:
        return "-"
    if read(plain(msgspec.json.encode(made)), kind) != made:
        raise AssertionError("an object is not what it was")
    return "+"


@target
def ocpi_heads() -> Target:
    """Tokens, pages, links, times and addresses."""

    def run(data: bytes) -> str:
        text = data.decode("latin-1")
        found = [str(len(read_tokens([text]))), "l" if next_link([text]) else "-"]
        for reader in (lambda: read_page(read_query(text)), lambda: read_time(text), lambda: origin_of(text)):
            try:
                reader()
                found.append("+")
            except (OcpiError, Invalid):
                found.append("-")
        return "".join(found)

    seeds = (
        b"Token ZXhhbXBsZS10b2tlbgo=", b"offset=10&limit=5&date_from=2026-01-31T12:00:00Z", b"2026-01-31T12:00:00.5",
        b'<https://h/ocpi?offset=1>; rel="next"', b"https://h:443/ocpi/versions",
    )  # fmt: skip
    return Target("ocpi-heads", "headers and queries of OCPI", run, (), seeds, shape=str)


@target
def ocpi_answers() -> Target:
    """An answer of a partner's, as its envelope is read."""
    seeds = (
        b'{"data":[1],"status_code":1000,"timestamp":"2026-01-31T12:00:00Z"}',
        b'{"status_code":2001,"timestamp":""}',
    )
    return Target("ocpi-answers", "answers of OCPI partners", read_envelope, (Invalid,), seeds)
