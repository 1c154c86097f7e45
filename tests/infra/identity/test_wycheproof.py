"""Signature verification against Project Wycheproof's vectors: valid ones pass, everything else is refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey

from gridspine.infra.identity import jws
from gridspine.kernel.errors import Invalid

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "wycheproof"


def groups(name: str) -> list[dict[str, Any]]:
    path = FOLDER / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the vectors {name}.json are not beside the repository (../shared/data/wycheproof)")
    return json.loads(path.read_text())["testGroups"]


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def verifies(compact: str, key: jws.Key) -> bool:
    try:
        jws.Envelope(compact).verified(key)
    except Invalid:
        return False
    return True


def test_json_web_signatures(record_property) -> None:
    tried = refused_for_algorithm = 0
    for group in groups("json_web_signature_test"):
        jwk = group.get("public") or group.get("private")
        ours = (jwk.get("kty"), jwk.get("crv")) in (("EC", "P-256"), ("OKP", "Ed25519"))
        for test in group["tests"]:
            text = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
            if not ours:
                # Not one of our algorithms: no key of ours could make us take it.
                assert not verifies(text, ECKey.generate_key("P-256")), test["tcId"]
                refused_for_algorithm += 1
                continue
            try:
                _, key = jws.import_key({name: jwk[name] for name in jwk if name != "d"})
                passed = verifies(text, key)
            except Invalid:
                passed = False
            assert passed == (test["result"] == "valid"), (test["tcId"], test["comment"])
            tried += 1
    assert (tried, refused_for_algorithm) == (41, 360)
    record_property("judged", {"passed": tried + refused_for_algorithm})


def framed_group(alg: str, group: dict[str, Any], key: jws.Key) -> int:
    """Verify a group of raw signatures: joserfc's algorithm object is what every token goes through."""
    algorithm = jws._REGISTRY.get_alg(alg)
    for test in group["tests"]:
        good = algorithm.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]), key)
        assert good == (test["result"] == "valid"), (test["tcId"], test["comment"])
    return len(group["tests"])


def test_ed25519(record_property) -> None:
    done = 0
    for group in groups("ed25519_test"):
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(bytes.fromhex(group["publicKey"]["pk"]))}
        done += framed_group("Ed25519", group, jws.import_key(jwk)[1])
    assert done == 151
    record_property("judged", {"passed": done})


def test_es256(record_property) -> None:
    done = 0
    for group in groups("ecdsa_secp256r1_sha256_p1363_test"):
        point = bytes.fromhex(group["publicKey"]["uncompressed"])
        jwk = {"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
        done += framed_group("ES256", group, jws.import_key(jwk)[1])
    assert done == 262
    record_property("judged", {"passed": done})


@pytest.mark.parametrize("key", [OKPKey.generate_key("Ed25519"), ECKey.generate_key("P-256")], ids=["Ed25519", "ES256"])
def test_the_vectors_way_of_verifying_can_succeed_and_fail(key) -> None:
    good = jws.sign({"typ": "x"}, {"a": 1}, key)
    assert verifies(good, jws.import_key(key.as_dict(private=False))[1])
    assert not verifies(good, jws.import_key(type(key).generate_key().as_dict(private=False))[1])
    header, payload, signature = good.split(".")
    assert not verifies(f"{header}.{payload}.", key)
    assert not verifies(f"{header}.{payload}.{signature}=", key)
    none = encode(b'{"alg":"none"}')
    assert not verifies(f"{none}.{payload}.", key)
