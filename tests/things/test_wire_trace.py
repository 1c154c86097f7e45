"""What was said on a wire: shown to who asks, without secrets, in bounds."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.things.redaction import HIDDEN, Redaction
from gridspine.things.wire_trace import ALL_CHARS, LINE_CHARS, LINES, LINES_PER_S, RingTrace

SECRET = 'user:pa"ss wörd/+'


def forms(secret: str) -> list[str]:
    data = secret.encode()
    return [
        secret, quote(secret, safe=""), base64.b64encode(data).decode(), data.hex(), data.hex(" "), data.hex().upper(),
        base64.urlsafe_b64encode(data).decode().rstrip("="), secret.partition(":")[2], secret.replace('"', '\\"'),
    ]  # fmt: skip


@pytest.mark.parametrize("form", forms(SECRET))
def test_a_known_secret_is_hidden_in_every_form(form: str) -> None:
    said = Redaction([SECRET])(f"before {form} after")
    assert form not in said
    assert HIDDEN in said
    assert said.startswith("before ") and said.endswith(" after")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "GET / HTTP/1.1\r\nAuthorization: Basic abc\r\nHost: x",
            f"GET / HTTP/1.1\r\nAuthorization: {HIDDEN}\r\nHost: x",
        ),
        ("x-api-key: 77\nA: b", f"x-api-key: {HIDDEN}\nA: b"),
        ("Set-Cookie: a=b", f"Set-Cookie: {HIDDEN}"),
        ('{"access_token": "t1", "n": 5}', f'{{"access_token": "{HIDDEN}", "n": 5}}'),
        ('{"AuthorizationKey":"a\\"b", "n": 5}', f'{{"AuthorizationKey":"{HIDDEN}", "n": 5}}'),
        ('{"password": "cut off he', f'{{"password": "{HIDDEN}"'),
        ("GET /v?access_token=abc&x=1", f"GET /v?access_token={HIDDEN}&x=1"),
        (f"?{'long.' * 20}token=abc&x=1", f"?{'long.' * 20}token={HIDDEN}&x=1"),
        (f'{{"{"long " * 20}token": "abc"}}', f'{{"{"long " * 20}token": "{HIDDEN}"}}'),
        ("client_secret=abc&grant_type=b", f"client_secret={HIDDEN}&grant_type=b"),
        ('{"key":"AuthorizationKey","value":"ab12"}', f'{{"key":"AuthorizationKey","value":"{HIDDEN}"}}'),
        (
            '[{"variable":{"name":"BasicAuthPassword"},"attributeValue":"x"}]',
            f'[{{"variable":{{"name":"BasicAuthPassword"}},"attributeValue":"{HIDDEN}"}}]',
        ),
        ('{"idTag":"04A2", "parentIdTag": "7"}', f'{{"idTag":"{HIDDEN}", "parentIdTag": "{HIDDEN}"}}'),
        (
            '{"idToken":{"idToken":"04A2","type":"ISO14443"}}',
            f'{{"idToken":{{"idToken":"{HIDDEN}","type":"ISO14443"}}}}',
        ),
        ('{"location":"ftp://bob:pw@h/f"}', f'{{"location":"ftp://{HIDDEN}@h/f"}}'),
        (
            '{"cdr_token":{"uid":"04A2B3C4","type":"RFID","contract_id":"DE-MSP-C00001-X"}}',
            '{"cdr_token":{"uid":"…C4","type":"RFID","contract_id":"…01-X"}}',
        ),
        ('{"uid": "04A2B3C4D5E6F7", "visual_number": "12", "kw', '{"uid": "…E6F7", "visual_number": "…", "kw'),
        ('{"uid": "04A2B3C4 cut off', '{"uid": "… off"'),
        ('{"evses":[{"uid":"3256","connectors":[]}]}', '{"evses":[{"uid":"3256","connectors":[]}]}'),
        ("PUT /ocpi/receiver/tokens/DE/MSP/04A2B3C4?type=RFID", "PUT /ocpi/receiver/tokens/DE/MSP/…C4?type=RFID"),
        ("POST /ocpi/sender/tokens/04A2B3C4/authorize", "POST /ocpi/sender/tokens/…C4/authorize"),
        ("GET /ocpi/2.2.1/sender/tokens?limit=1", "GET /ocpi/2.2.1/sender/tokens?limit=1"),
        ("<Registration><pIN>123455</pIN></Registration>", "<Registration><pIN>…55</pIN></Registration>"),
        ("<ns:pIN> 9</ns:pIN>", "<ns:pIN> …</ns:pIN>"),
        ('{"value": "17", "unit": "W"}', '{"value": "17", "unit": "W"}'),
        ('{"power": 17, "unit": "W"}', '{"power": 17, "unit": "W"}'),
    ],
)
def test_what_stands_where_secrets_stand_is_hidden(said: str, left: str) -> None:
    assert Redaction()(said) == left


@given(st.text("QXZ7é ", min_size=4, max_size=40), st.binary(max_size=60), st.binary(max_size=60))
def test_a_secret_within_any_bytes_is_never_shown(secret: str, before: bytes, after: bytes) -> None:
    trace = RingTrace(VirtualClock(), [secret])
    trace.turn_on(60)
    raw = secret.encode()
    trace("in", before + raw + after)
    (line,) = trace.lines()
    assert raw.hex(" ") not in line.text
    assert secret not in line.text


def test_it_is_off_until_turned_on_and_goes_off_by_itself() -> None:
    clock = VirtualClock()
    trace = RingTrace(clock)
    asked: list[int] = []
    trace("in", lambda: asked.append(1) or "x")
    assert (trace.on, trace.lines(), asked) == (False, [], [])
    trace.turn_on(10, peer="meter")
    trace("out", b"\x00\x01\xff", peer="meter-7")
    trace("out", "READ\r\n", peer="meter-7")
    trace("out", "READ\r\n", peer="other")
    assert [(one.number, one.direction, one.text) for one in trace.lines()] == [
        (1, "out", "00 01 ff"), (2, "out", "READ\r\n"),
    ]  # fmt: skip
    assert [one.number for one in trace.lines(after=1)] == [2]
    assert trace.left_s == 10
    clock._move_to(clock.monotonic_us() + 10_000_000)
    assert (trace.left_s, trace.on, trace.lines()) == (0.0, False, [])


def test_it_is_bounded() -> None:
    clock = VirtualClock()
    trace = RingTrace(clock)
    trace.turn_on(3600)
    for _ in range(LINES_PER_S + 7):
        trace("in", "x")
    assert (len(trace.lines()), trace.dropped) == (LINES_PER_S, 7)
    for at in range(LINES):
        clock._move_to(at * 1_000_000 + 2_000_000)
        trace("in", "y" * 10_000)
    lines = trace.lines()
    assert len(lines) <= LINES
    assert sum(len(one.text) for one in lines) <= ALL_CHARS
    assert all(one.cut and len(one.text) == LINE_CHARS for one in lines)


def test_a_secret_at_the_cut_is_not_shown_in_half() -> None:
    secret = "correct horse battery staple"
    for at in range(LINE_CHARS - 40, LINE_CHARS + 2):
        trace = RingTrace(VirtualClock(), [secret])
        trace.turn_on(60)
        trace("in", "x" * at + secret + "y" * 100)
        assert "correct" not in trace.lines()[0].text
