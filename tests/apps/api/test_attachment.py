"""Files of a Thing: what is taken, what is not, bounds, and that nothing is handed out to be run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_node import running, settings_for

from gridspine.apps.api.attachment import disposition
from gridspine.infra.runtime.settings import Attachments
from gridspine.kernel.errors import Invalid, UnsupportedMedia
from gridspine.things.media import check_media, check_name

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100
GOOD = {
    "image/png": PNG, "image/jpeg": b"\xff\xd8\xff\xe0" + b"0" * 9, "image/webp": b"RIFF0000WEBPVP8 ",
    "application/pdf": b"%PDF-1.7\n", "text/plain": "Wartung: ölen".encode(), "text/csv": b"a,b\n1,2\n",
    "application/json": b'{"a": 1}', "application/gzip": b"\x1f\x8b\x08\x00", "application/zip": b"PK\x03\x04",
    "application/pem-certificate-chain": b"-----BEGIN CERTIFICATE-----\nAA==\n",
}  # fmt: skip


async def attach(world, content, media_type, name="file", thing="urn:example:m1", **more):
    return await world.op.post(
        f"/things/{thing}/attachments", params={"name": name, **more}, content=content,
        headers={"content-type": media_type},
    )  # fmt: skip


@pytest.mark.parametrize("media_type", GOOD)
def test_what_is_taken(media_type):
    assert check_media(media_type.upper() + "; charset=utf-8", GOOD[media_type]) == media_type


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/html", b"<p>"), ("image/svg+xml", b"<svg/>"), ("application/javascript", b"x"), ("", b"x"),
        ("image/png", GOOD["image/jpeg"]), ("application/pdf", b"MZ\x90"), ("text/plain", b"<!DOCTYPE html>"),
        ("text/plain", b" <script>x</script>"), ("text/plain", b"a\0b"), ("text/csv", b"\xff\xfe"),
        ("application/json", b"{"), ("application/json", b"[" * 100_000),
    ],
)  # fmt: skip
def test_what_is_not_taken(media_type, content):
    with pytest.raises(UnsupportedMedia):
        check_media(media_type, content)


def test_empty_files_and_private_keys_are_refused():
    with pytest.raises(Invalid, match="empty"):
        check_media("text/plain", b"")
    with pytest.raises(Invalid, match="private key"):
        check_media("text/plain", b"x\n-----BEGIN EC PRIVATE KEY-----\n")


@given(st.text(max_size=130))
def test_whatever_a_file_is_called_its_header_is_one_line_of_ascii(name):
    try:
        kept = check_name(name)
    except Invalid:
        return
    header = disposition(kept)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in kept
    assert "\\" not in kept


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 121, " a", 'a"b', "\u202egpj.exe\u2028"])
def test_names_that_could_mean_a_path_or_two_things_are_refused(name):
    with pytest.raises(Invalid):
        check_name(name)


async def test_a_file_is_kept_handed_out_and_remembered(world):
    await world.thing()
    kept = await attach(world, PNG, "image/png", "Zähler vorne.png", note="before sealing")
    assert kept.status_code == 201, kept.text
    one = kept.json()
    assert (one["size"], one["mediaType"], one["note"]) == (len(PNG), "image/png", "before sealing")
    assert (await attach(world, PNG, "image/png", "Zähler vorne.png")).json()["id"] == one["id"], "again is no second"
    path = f"/things/urn:example:m1/attachments/{one['id']}"
    got = await world.op.get(path)
    assert got.content == PNG
    assert got.headers["content-type"] == "image/png"
    assert got.headers["content-disposition"].startswith('attachment; filename="Z_hler vorne.png"')
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert (await world.co.get(path)).status_code == 403
    twin = (await attach(world, PNG, "image/png", "the same.png")).json()
    assert (await world.op.post(f"{path}/remove")).status_code == 200
    assert (await world.op.get(path)).status_code == 404
    assert (await world.op.get(f"/things/urn:example:m1/attachments/{twin['id']}")).content == PNG, "it is shared"
    assert (await world.op.post(f"/things/urn:example:m1/attachments/{twin['id']}/remove")).status_code == 200
    folder = world.node.paths.root / "attachments"
    assert [file for file in folder.rglob("*") if file.is_file()] == []
    entries = (await world.op.get("/things/urn:example:m1/history")).json()["entries"]
    assert [entry["type"] for entry in entries if entry["type"].startswith("thing.attach")] == [
        "thing.attachment-removed", "thing.attachment-removed", "thing.attached", "thing.attached",
    ]  # fmt: skip
    assert entries[-2]["data"]["digest"] == one["digest"]


async def test_bounds_and_roles(tmp_path):
    settings = settings_for(attachments=Attachments(max_bytes=1_000, quota_bytes=1_500))
    async with running(tmp_path / "data", settings) as world:
        await world.thing()
        assert (await attach(world, b"a" * 1_001, "text/plain")).status_code == 413
        assert (await attach(world, b"a" * 1_000, "text/plain")).status_code == 201
        full = await attach(world, b"b" * 501, "text/plain")
        assert (full.status_code, "of 1500 bytes" in full.json()["detail"]) == (413, True)
        assert (await attach(world, b"c", "text/plain", "../x")).status_code == 400
        assert (await attach(world, b"c", "text/html")).status_code == 415
        _, auditor = world.client("northside-networks", "auditor")
        answer = await auditor.post("/things/urn:example:m1/attachments", params={"name": "x"}, content=b"x")
        assert answer.status_code == 403
        assert len((await auditor.get("/things/urn:example:m1/attachments")).json()) == 1


async def test_a_file_that_was_damaged_is_said_to_be(world):
    await world.thing()
    one = (await attach(world, b"hello", "text/plain")).json()
    (file,) = [path for path in (world.node.paths.root / "attachments").rglob("*") if path.is_file()]
    file.write_bytes(b"other")
    path = f"/things/urn:example:m1/attachments/{one['id']}"
    assert (await world.op.get(path)).status_code == 500
    file.unlink()
    assert (await world.op.get(path)).status_code == 410
