"""What VENs and VTNs of OpenADR 2.0b send: messages, and what events and reports in them come to."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from target import Target, target

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.adapters.openadr2.book import Asked, Column
from gridspine.adapters.openadr2.client.plan import plan_of
from gridspine.adapters.openadr2.document import decode
from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.adapters.openadr2.report import rows_of, wanted_of
from gridspine.adapters.openadr2.signature import Signer, certificate_in, verify
from gridspine.adapters.openadr2.ven import Resource, Ven
from gridspine.adapters.openadr2.wire import NAMES, read, write
from gridspine.kernel.errors import Invalid

_NOW_US = 1_770_000_000_000_000
_WATTS = m.Item(kind="power:powerReal", units="W", scale="k", hertz=50.0, voltage=230.0, ac=True)
_ASKED = Asked("s", {"r": Column("urn:example:t", "activePower", "W", 1e3)})
_VEN = Ven("v", "", "urn:example:t", {"": Resource("urn:example:t", frozenset({"activePower"}), {})})
_SIGNAL = m.Signal(
    intervals=(m.SignalInterval(duration_us=900_000_000, uid="0", value=2.5), m.SignalInterval(duration_us=0, value=-1.0)),
    name="LOAD_DISPATCH", type="setpoint", id="0", item=_WATTS, current=0.0,
)  # fmt: skip
_EVENT = m.EiEvent(
    descriptor=m.Descriptor(
        event_id="e", modification_number=1, priority=2, market_context="urn:m", created_us=_NOW_US, status="far", test="false"
    ),
    period=m.ActivePeriod(start_us=_NOW_US, duration_us=3_600_000_000, start_after_us=60_000_000),
    signals=(_SIGNAL,), target=m.Target(ven_ids=("v",), resource_ids=("house",), mrids=("a",)),
)  # fmt: skip
_REPORT = r.Report(
    start_us=_NOW_US, duration_us=60_000_000, request_id="q", specifier_id="s", name="TELEMETRY_USAGE", created_us=_NOW_US,
    intervals=(
        r.ReportInterval(start_us=_NOW_US, duration_us=1_000_000, payloads=(r.ReportPayload(rid="r", value=1.5, quality="Quality Bad"),)),
        r.ReportInterval(payloads=(r.ReportPayload(rid="r", online=True, override=False),)),
    ),
    descriptions=(r.Description(rid="r", type="usage", item=_WATTS, reading_type="Mean", sampling=r.Sampling(min_us=0, max_us=0)),),
)  # fmt: skip
_OK = m.Response(request_id="1")
_SEEDS = (
    m.Poll(ven_id="v"),
    m.CreatePartyRegistration(request_id="1", ven_name="n", http_pull=True),
    m.CreatedPartyRegistration(response=_OK, registration_id="g", ven_id="v", vtn_id="V", poll_us=10_000_000),
    m.DistributeEvent(response=_OK, request_id="1", vtn_id="V", events=(m.Event(event=_EVENT),)),
    m.CreatedEvent(
        response=_OK, ven_id="v",
        responses=(m.EventResponse(event=m.QualifiedEvent(event_id="e", modification_number=1), opt="optIn"),),
    ),
    m.CreateOpt(
        opt_id="o", opt="optOut", reason="economic", ven_id="v", created_us=_NOW_US, request_id="1",
        available=(m.Available(start_us=_NOW_US, duration_us=60_000_000),),
    ),
    r.RegisterReport(request_id="1", reports=(_REPORT,), ven_id="v"),
    r.UpdateReport(request_id="1", reports=(_REPORT,), ven_id="v"),
)  # fmt: skip
_WORDS = [
    b"<!DOCTYPE a [", b"<!ENTITY x 'y'>]>", b"&x;", b"&#0;", b"<![CDATA[", b"]]>", b"xmlns=''", b"PT0S", b"P9999D", b"P1M",
    b"NaN", b"INF", b"1e999", b"99999999999999999999", b"9999-12-31T23:59:59Z", b"0000-00-00T00:00:00", b"<ei:value>",
]  # fmt: skip


@target
def openadr2_messages() -> Target:
    """A message, which written and read again is the same; what its events are to the node, and its reports' readings."""

    def run(data: bytes) -> str:
        message = read(data)
        again = read(write(message))
        if write(again) != write(read(write(again))):
            raise AssertionError("a message is not what it was")
        if isinstance(message, m.DistributeEvent):
            for one in message.events:
                plan_of(one.event, ["targetW"], _NOW_US)
        elif isinstance(message, r.UpdateReport | r.RegisterReport):
            for report in message.reports:
                list(rows_of(_ASKED, report, _NOW_US))
                wanted_of(_VEN, report, "q", 60_000_000)
        return NAMES[type(message)]

    seeds = [write(one) for one in _SEEDS]
    return Target(
        "openadr2-messages",
        "messages of OpenADR 2.0b",
        run,
        (Invalid,),
        seeds,
        _WORDS,
        xml=True,
        shape=lambda said: said,
    )


def _signer() -> tuple[Signer, bytes]:
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fuzz")])
    begin = datetime.fromtimestamp(_NOW_US / 1e6, UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin + timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Signer(certificate.public_bytes(Encoding.PEM), pem), certificate.public_bytes(Encoding.DER)


@target
def openadr2_signed() -> Target:
    """A signed message: taken only as it was signed, however it is cut, moved and put together again."""
    signer, der = _signer()
    signed = {f"nonce-{at}": one for at, one in enumerate(_SEEDS)}
    seeds = [signer.sign(one, _NOW_US, nonce) for nonce, one in signed.items()]
    meant = {nonce: write(read(body)) for nonce, body in zip(signed, seeds, strict=True)}

    def run(data: bytes) -> str:
        decode(data)
        certificate_in(data)
        found = verify(data, der, _NOW_US)
        if found.at_us != _NOW_US or write(found.message) != meant[found.nonce]:
            raise AssertionError("what was never signed was taken as signed")
        return NAMES[type(found.message)]

    words = [
        b"<ds:Signature ", b"</ds:Signature>", b"<oadr:oadrSignedObject ", b'oadr:Id="oadrSignedObject"', b'URI="#prop"',
        b'URI=""', b"<!--", b"-->", b"#WithComments", b"xmldsig#enveloped-signature", b"<ds:Transform ", b'Id="prop"',
    ]  # fmt: skip
    return Target(
        "openadr2-signed", "signed messages of OpenADR 2.0b", run, (Invalid, BadSignature), seeds, words,
        xml=True, shape=lambda said: said,
    )  # fmt: skip
