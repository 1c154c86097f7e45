"""Contents by hash: kept once, checked when they are read, gone when removed."""

import pytest

from gridspine.infra.runtime.content import ContentStore, digest_of
from gridspine.kernel.errors import Corrupt, Gone


def test_a_content_is_kept_under_its_hash(tmp_path):
    store = ContentStore(tmp_path / "files")
    digest = store.put(b"hello")
    assert digest == digest_of(b"hello") == store.put(b"hello")
    assert store.get(digest) == b"hello"
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [digest]
    store.remove(digest)
    store.remove(digest)
    with pytest.raises(Gone):
        store.get(digest)


def test_damage_is_said_and_half_a_file_is_written_again(tmp_path):
    store = ContentStore(tmp_path)
    digest = store.put(b"hello")
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    path.write_bytes(b"jello")
    with pytest.raises(Corrupt, match="damaged"):
        store.get(digest)
    path.write_bytes(b"hel")
    store.put(b"hello")
    assert store.get(digest) == b"hello"
