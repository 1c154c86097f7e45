"""EiRegisterParty, OadrPoll and the plain response of OpenADR 2.0b. Pure; no I/O."""

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.document import Shape, duration, flag, many, word, words
from gridspine.adapters.openadr2.wire_shape import ANSWERED, MAYBE_VEN, REQUEST, VEN

_REGISTRATION, _MAYBE_REGISTRATION = (
    word("registration_id", "ei:registrationID"), word("registration_id", "ei:registrationID", "")
)  # fmt: skip
_PROFILES, _TRANSPORTS = ("2.0a", "2.0b"), ("simpleHttp", "xmpp")
_PROFILE = Shape(
    m.Profile,
    (
        word("name", "oadr:oadrProfileName"),
        words("transports", "oadr:oadrTransport/oadr:oadrTransportName", around="oadr:oadrTransports", most=10),
    ),
)

PARTY: dict[str, Shape] = {
    "oadrQueryRegistration": Shape(m.QueryRegistration, (REQUEST,)),
    "oadrCreatePartyRegistration": Shape(
        m.CreatePartyRegistration,
        (
            REQUEST,
            _MAYBE_REGISTRATION,
            MAYBE_VEN,
            word("profile", "oadr:oadrProfileName", of=_PROFILES),
            word("transport", "oadr:oadrTransportName", of=_TRANSPORTS),
            word("transport_address", "oadr:oadrTransportAddress", ""),
            flag("report_only", "oadr:oadrReportOnly"),
            flag("xml_signature", "oadr:oadrXmlSignature"),
            word("ven_name", "oadr:oadrVenName", ""),
            flag("http_pull", "oadr:oadrHttpPullModel", None),
        ),
    ),
    "oadrCreatedPartyRegistration": Shape(
        m.CreatedPartyRegistration,
        (
            ANSWERED,
            _MAYBE_REGISTRATION,
            MAYBE_VEN,
            word("vtn_id", "ei:vtnID"),
            many("profiles", "oadr:oadrProfiles/oadr:oadrProfile", _PROFILE, least=1, most=10),
            duration("poll_us", "oadr:oadrRequestedOadrPollFreq/xcal:duration", None),
        ),
    ),
    "oadrCancelPartyRegistration": Shape(m.CancelPartyRegistration, (REQUEST, _REGISTRATION, MAYBE_VEN)),
    "oadrCanceledPartyRegistration": Shape(m.CanceledPartyRegistration, (ANSWERED, _MAYBE_REGISTRATION, MAYBE_VEN)),
    "oadrRequestReregistration": Shape(m.RequestReregistration, (VEN,)),
    "oadrPoll": Shape(m.Poll, (VEN,)),
    "oadrResponse": Shape(m.Answer, (ANSWERED, MAYBE_VEN)),
}
