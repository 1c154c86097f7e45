"""The codec: what is written is read as it was; what is no message is refused, and never anything else."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openadr2_said import MESSAGES

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.document import MAX_BYTES
from gridspine.adapters.openadr2.wire import read, write
from gridspine.kernel.errors import Invalid

POLL = write(m.Poll(ven_id="v"))
LAUGHS = b"".join(b'<!ENTITY a%d "&a%d;&a%d;">' % (n + 1, n, n) for n in range(30))


@settings(max_examples=150, deadline=None)
@given(MESSAGES)
def test_any_message_comes_back(message):
    again = read(write(message))
    if isinstance(message, r.UpdateReport | r.RegisterReport):  # either a number or a status is said
        assert write(read(write(again))) == write(again)
        assert [one.specifier_id for one in again.reports] == [one.specifier_id for one in message.reports]
    else:
        assert again == message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda at, cut: POLL[at:-cut], st.integers(0, 300), st.integers(1, 300)))
@example(b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
def test_any_bytes_are_a_message_or_invalid(body):
    try:
        read(body)
    except Invalid:
        return
    assert b"oadrPayload" in body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "DTD"),
        (b"<!DOCTYPE x [" + LAUGHS + b"]><x/>", "DTD"),
        (b"<a>" * 40 + b"</a>" * 40, "too deep"),
        (b"<a>" + b"<b/>" * 60_000 + b"</a>", "too many"),
        (b" " * (MAX_BYTES + 1), "at most"),
        (POLL.replace(b"oadrPoll", b"oadrPull"), "no message"),
        (POLL.replace(b"venID", b"vanID"), "ei:venID is needed"),
    ],
)
def test_what_is_no_message_is_refused(body, words):
    with pytest.raises(Invalid, match=words):
        read(body)


@pytest.mark.parametrize("text", ["P1M", "-PT1H", "PT", "P", "1H", "PT1.H"])
def test_a_duration_that_is_none_is_refused(text):
    said = write(m.CreatedPartyRegistration(response=m.Response(), vtn_id="VTN", poll_us=10_000_000))
    with pytest.raises(Invalid, match="duration"):
        read(said.replace(b"PT10S", text.encode()))


def test_weeks_days_and_all_are_a_duration():
    said = write(m.CreatedPartyRegistration(response=m.Response(), vtn_id="VTN", poll_us=10_000_000))
    for text, seconds in (("P1W", 604_800), ("P1DT2H3M4S", 93_784), ("P0Y0M0DT0H0M0.0S", 0)):
        assert read(said.replace(b"PT10S", text.encode())).poll_us == seconds * 1_000_000
