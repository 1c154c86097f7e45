"""Organisations, principals, keys: kept, altered, remembered after a restart."""

from collections.abc import Sequence
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.directory import MAX_KEYS, Directory
from gridspine.infra.identity.principal import Principal, PublicKey
from gridspine.infra.log.port import Position, Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.kernel.errors import Conflict, DiskFull, Invalid, NotFound


class FillingLog(SqliteEventLog):
    """A log on a disk that gets full."""

    full = False

    def append(self, records: Sequence[Record]) -> list[Position]:
        if self.full:
            raise DiskFull("no room")
        return super().append(records)


def public(key: Any) -> dict[str, Any]:
    return dict(key.as_dict(private=False))


def test_standing_data_survives_a_restart(world) -> None:
    client, key = world.client("operator")
    before = world.identity.directory
    before.deactivate(world.principal("owner", organisation="other").id)
    after = Directory(world.registry, world.clock)
    assert after.organisations() == before.organisations()
    assert after.principals() == before.principals()
    assert after.principals("other") == before.principals("other")
    assert [p.active for p in after.principals("other")] == [False]
    assert after.keys_of(client.id) == before.keys_of(client.id)
    assert after.keys_of(client.id)[0].kid == key.thumbprint()


def test_ids_are_taken_once_and_must_be_well_formed(world) -> None:
    directory = world.identity.directory
    directory.add_organisation("acme", "Acme")
    directory.add_principal("acme", "device", "Meter", id="urn:dev:meter-7")
    with pytest.raises(Conflict):
        directory.add_organisation("acme", "Acme")
    with pytest.raises(Conflict):
        directory.add_principal("acme", "device", "Meter", id="urn:dev:meter-7")
    with pytest.raises(NotFound):
        directory.add_principal("nobody", "device", "Meter")
    for wrong in ("", "a b", "-a", "x" * 129):
        with pytest.raises(Invalid):
            directory.add_organisation(wrong, "Name")
    for urn, name, roles in [
        ("meter", "M", ()),
        ("urn:a:b/c", "M", ()),
        ("urn:x:y", "", ()),
        ("urn:x:y", " M", ()),
        ("urn:x:y", "M\n", ()),
        ("urn:x:y", "M", ("Operator",)),
        ("urn:x:y", "M", ("a", "a")),
        ("urn:x:y", "M", tuple(f"r{n}" for n in range(17))),
    ]:
        with pytest.raises(Invalid):
            directory.add_principal("acme", "device", name, roles, id=urn)


def test_a_key_is_one_principals(world) -> None:
    client, key = world.client()
    other = world.principal()
    with pytest.raises(Conflict, match="registered already"):
        world.identity.directory.add_key(other.id, public(key))
    with pytest.raises(NotFound):
        world.identity.directory.add_key("urn:x:nobody", public(OKPKey.generate_key("Ed25519")))
    assert client.id != other.id


def test_keys_that_prove_nothing_are_refused(world) -> None:
    principal = world.principal()
    point = public(ECKey.generate_key("P-256"))
    for jwk, said in [
        (OKPKey.generate_key("Ed25519").as_dict(private=True), "private members"),
        (RSAKey.generate_key(2048).as_dict(private=False), "kty and crv"),
        (public(ECKey.generate_key("P-384")), "kty and crv"),
        (public(OKPKey.generate_key("X25519")), "kty and crv"),
        ({"kty": "oct", "k": "AAAA"}, "private members"),
        ({"kty": "OKP", "crv": "Ed25519", "x": 1}, "text members"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "not a point"),
        ({**point, "y": point["x"]}, "not a point"),
        ({}, "kty and crv"),
    ]:
        with pytest.raises(Invalid, match=said):
            world.identity.directory.add_key(principal.id, jwk)


def test_the_kid_is_the_thumbprint_of_the_canonical_key() -> None:
    # RFC 8037 appendix A.3
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert jws.thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert jws.thumbprint({**jwk, "alg": "Ed25519", "kid": "mine", "use": "sig"}) == jws.thumbprint(jwk)


def test_rotation_overlaps_and_then_the_old_key_is_done(world) -> None:
    directory = world.identity.directory
    client, old = world.client()
    new = OKPKey.generate_key("Ed25519")
    directory.add_key(client.id, public(new), replaces=old.thumbprint(), overlap_s=60)
    assert {key.kid for key in directory.keys_of(client.id)} == {old.thumbprint(), new.thumbprint()}
    world.clock.step_wall(60)
    for known in (directory, Directory(world.registry, world.clock)):
        assert [key.kid for key in known.keys_of(client.id)] == [new.thumbprint()]
        assert known.key(old.thumbprint()) is None
    with pytest.raises(Invalid, match="no key"):
        directory.add_key(client.id, public(OKPKey.generate_key("Ed25519")), replaces=old.thumbprint())


def test_a_principal_has_a_bounded_number_of_keys(world) -> None:
    client, first = world.client()
    directory = world.identity.directory
    for _ in range(MAX_KEYS - 1):
        directory.add_key(client.id, public(OKPKey.generate_key("Ed25519")))
    with pytest.raises(Conflict, match="at most"):
        directory.add_key(client.id, public(OKPKey.generate_key("Ed25519")))
    directory.add_key(client.id, public(OKPKey.generate_key("Ed25519")), replaces=first.thumbprint())
    assert len(directory.keys_of(client.id)) == MAX_KEYS
    directory.remove_key(directory.keys_of(client.id)[0].kid)
    assert len(directory.keys_of(client.id)) == MAX_KEYS - 1
    with pytest.raises(NotFound):
        directory.remove_key("none")


def test_roles_given_by_one_and_activity_by_another_do_not_undo_each_other(world) -> None:
    directory = world.identity.directory
    principal = world.principal("owner")
    directory.deactivate(principal.id)
    directory.set_roles(principal.id, ("operator",))
    assert directory.active(principal.id) is None
    directory.reactivate(principal.id)
    assert directory.active(principal.id) == Principal(principal.id, "acme", "application", "Someone", ("operator",))


def test_changes_are_told_to_the_log_and_a_failing_log_does_not_hide_them(world, tmp_path) -> None:
    log = FillingLog(tmp_path / "log", [Topic("standing", control=True)])
    registry = SqlRegistry(sqlite_url(tmp_path / "other.db"), world.clock, log)
    directory = Directory(registry, world.clock, topic="standing")
    directory.add_organisation("acme", "Acme", actor="alice")
    principal = directory.add_principal("acme", "user", "Bob")
    bodies = b"".join(record.body for record in log.read("standing", 0, 0))
    assert b'"identity.organisation.added"' in bodies
    assert b'"actor":"alice"' in bodies
    log.full = True
    with pytest.raises(DiskFull):
        directory.deactivate(principal.id)
    assert directory.active(principal.id) is None, "it is committed, so it holds, whatever became of its event"
    assert registry.read(lambda tx: tx.get(Principal, principal.id)).active is False
    registry.close()
    log.close()


def test_a_refused_change_leaves_nothing_behind(world) -> None:
    directory = world.identity.directory
    principal = world.principal("owner")

    def fail(tx: Any, _: Principal) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        directory.add_principal("acme", "user", "Bob", also=fail)
    assert directory.principals() == [principal]
    assert len(world.registry.read(lambda tx: tx.list(Principal))) == 1


def test_only_so_many_retired_keys_are_remembered(world) -> None:
    client, key = world.client()
    directory = world.identity.directory
    for _ in range(2 * MAX_KEYS):
        new = OKPKey.generate_key("Ed25519")
        directory.add_key(client.id, public(new), replaces=key.thumbprint())
        key = new
    assert [known.kid for known in directory.keys_of(client.id)] == [key.thumbprint()]
    kept = world.registry.read(lambda tx: tx.list(PublicKey))
    assert {known.kid for known in kept} == set(directory._keys) == set(directory._keys_of[client.id])
    assert MAX_KEYS < len(kept) <= MAX_KEYS + 2
