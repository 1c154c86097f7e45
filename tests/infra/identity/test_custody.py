"""The folder of private keys."""

import os
import stat
import threading
from pathlib import Path

import pytest

from gridspine.infra.identity.custody import RETIREMENT_S, Custody
from gridspine.infra.identity.private_file import create_private, read_private, replace_private
from gridspine.infra.runtime.clock import SystemClock, VirtualClock
from gridspine.kernel.errors import Corrupt, Invalid


def test_everything_is_its_owners_alone_and_lasts(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "keys"
    first = Custody(folder, SystemClock())
    before = (
        first.ledger_key().private_bytes_raw(),
        first.p256_key("ca.pem").private_numbers(),
        first.secret("cookies"),
        [one.key.as_dict(private=True) for one in first.token_keys()],
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    again = Custody(folder, SystemClock())
    assert before == (
        again.ledger_key().private_bytes_raw(),
        again.p256_key("ca.pem").private_numbers(),
        again.secret("cookies"),
        [one.key.as_dict(private=True) for one in again.token_keys()],
    )
    assert again.secret("devices") != before[2]


def test_the_same_seed_makes_the_same_keys(tmp_path: Path) -> None:
    made = [Custody(tmp_path / name, VirtualClock(seed=7)).ledger_key().private_bytes_raw() for name in "ab"]
    assert made[0] == made[1]
    assert Custody(tmp_path / "c", VirtualClock(seed=8)).ledger_key().private_bytes_raw() != made[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_others_can_reach_is_refused_with_advice(tmp_path: Path, mode: int) -> None:
    custody = Custody(tmp_path / "keys", SystemClock())
    custody.ledger_key()
    path = custody.path("ledger.pem")
    path.chmod(mode)
    with pytest.raises(Invalid, match=f"run chmod 600 {path}"):
        custody.ledger_key()


def test_a_folder_others_can_reach_is_refused_with_advice(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(Invalid, match="run chmod 700"):
        Custody(folder, SystemClock())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_key_is_refused(tmp_path: Path) -> None:
    custody = Custody(tmp_path / "keys", SystemClock())
    custody.secret("cookies")
    os.chown(custody.path("cookies.key"), 12345, -1)
    with pytest.raises(Invalid, match="another user"):
        custody.secret("cookies")


def test_a_link_in_a_keys_place_is_refused(tmp_path: Path) -> None:
    custody = Custody(tmp_path / "keys", SystemClock())
    elsewhere = tmp_path / "elsewhere"
    create_private(elsewhere, b"00" * 32, SystemClock())
    custody.path("cookies.key").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        custody.secret("cookies")


@pytest.mark.parametrize("content", [b"", b"not hex", b"00", b"00" * 31])
def test_damaged_secrets_are_named(tmp_path: Path, content: bytes) -> None:
    custody = Custody(tmp_path / "keys", SystemClock())
    create_private(custody.path("cookies.key"), content, SystemClock())
    create_private(custody.path("ledger.pem"), b"-----BEGIN", SystemClock())
    with pytest.raises(Corrupt):
        custody.secret("cookies")
    with pytest.raises(Corrupt, match=r"ledger\.pem"):
        custody.ledger_key()


def test_many_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    folder, found = tmp_path / "keys", []
    folder.mkdir(mode=0o700)
    custodies = [Custody(folder, SystemClock()) for _ in range(8)]
    threads = [threading.Thread(target=lambda c=c: found.append(c.secret("cookies"))) for c in custodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_leftovers_of_a_crash_are_swept_and_never_read(tmp_path: Path) -> None:
    clock = SystemClock()
    custody = Custody(tmp_path / "keys", clock)
    (tmp_path / "keys" / ".ledger.pem.0011.new").write_bytes(b"half a k")
    custody = Custody(tmp_path / "keys", clock)
    custody.ledger_key()
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["ledger.pem"]


def test_create_never_replaces_and_replace_does(tmp_path: Path) -> None:
    path, clock = tmp_path / "file", SystemClock()
    assert create_private(path, b"1", clock)
    assert not create_private(path, b"2", clock)
    assert read_private(path) == b"1"
    replace_private(path, b"3", clock)
    assert read_private(path) == b"3"
    assert read_private(tmp_path / "none") is None
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_new_token_key_signs_and_the_old_one_verifies_until_it_retires(world) -> None:
    client, key = world.client("operator")
    old = world.token(client, key)
    old_kid = world.identity.tokens.jwks()["keys"][0]["kid"]
    world.clock.step_wall(1)
    world.identity.rotate_token_key()
    kids = [public["kid"] for public in world.identity.tokens.jwks()["keys"]]
    assert len(kids) == 2
    assert kids[1] == old_kid
    new = world.token(client, key)
    assert world.identity.tokens.verify(old).sub == world.identity.tokens.verify(new).sub == client.id
    world.start()
    assert world.identity.tokens.verify(old).sub == client.id
    world.clock.step_wall(RETIREMENT_S + 1)
    world.start()
    assert [public["kid"] for public in world.identity.tokens.jwks()["keys"]] == kids[:1]
    assert len(list((world.folder / "keys").glob("token-*"))) == 1
