"""Compact signatures, read by our own few lines: they take what joserfc takes, byte for byte, and nothing else."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gridspine.infra.identity import jws
from gridspine.kernel.errors import Invalid

KEYS = (OKPKey.generate_key("Ed25519"), ECKey.generate_key("P-256"))
GOOD = [jws.sign({"typ": "dpop+jwt", "jwk": dict(key.as_dict(private=False))}, {"jti": "1"}, key) for key in KEYS]
CHARACTERS = st.sampled_from("AZaz09-_=.+/ \n\u00e9")


def ours(compact: str, key: jws.Key) -> bytes | None:
    try:
        return jws.Envelope(compact).verified(key)
    except Invalid:
        return None


def theirs(compact: str, key: jws.Key) -> bytes | None:
    try:
        found = jose.deserialize_compact(compact.encode("ascii"), key, registry=jws._REGISTRY)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None if "b64" in found.headers() else found.payload


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, jws.Key]:
    """A good signature with a few characters changed, put in or taken out."""
    which = draw(st.integers(0, 1))
    text = GOOD[which]
    for _ in range(draw(st.integers(0, 3))):
        at, size = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
        text = text[:at] + draw(st.text(CHARACTERS, max_size=3)) + text[at + size :]
    return text, KEYS[draw(st.sampled_from((which, which, which, 1 - which)))]


@given(damaged())
@settings(max_examples=2000, deadline=None)
def test_damage_is_judged_as_the_library_does(case: tuple[str, jws.Key]) -> None:
    assert ours(*case) == theirs(*case)


HEADERS = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "x5c", "cty", "strange"]),
    st.sampled_from(["Ed25519", "ES256", "EdDSA", "none", "HS256", 1, None, True, [], ["b64"], ["exp"], {}]),
    max_size=4,
)


@given(HEADERS, st.integers(0, 1))
@settings(max_examples=1000, deadline=None)
def test_headers_are_judged_as_the_library_does(header: dict[str, object], which: int) -> None:
    key = KEYS[which]
    signed = b".".join(_encoded(part) for part in (json.dumps(header).encode(), b'{"jti":"1"}'))
    signature = jws._REGISTRY.get_alg(jws.algorithm_of(key)).sign(signed, key)
    compact = (signed + b"." + _encoded(signature)).decode()
    for _ in range(2):  # the second time from memory
        assert ours(compact, key) == theirs(compact, key)


@pytest.mark.parametrize("which", [0, 1], ids=["Ed25519", "ES256"])
def test_a_header_that_is_remembered_proves_nothing(which: int) -> None:
    key, other = KEYS[which], type(KEYS[which]).generate_key()
    assert ours(GOOD[which], key) == b'{"jti":"1"}'
    header, _, signature = GOOD[which].split(".")
    assert ours(f"{header}.{_encoded(b'{}').decode()}.{signature}", key) is None
    assert ours(GOOD[which], other) is None
    assert ours(GOOD[which], KEYS[1 - which]) is None


def test_what_was_read_cannot_be_changed_for_the_next() -> None:
    with pytest.raises(TypeError):
        jws.Envelope(GOOD[0]).header["alg"] = "none"


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
