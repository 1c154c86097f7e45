"""After a whole story no secret lies in plain text: in no file of the node, not in its logs, nor in answers."""

import json
import logging
import stat

import structlog
from joserfc.jwk import OKPKey
from matrix_requests import METER_ID
from matrix_tokens import Keyed
from running_node import running, settings_for

from gridspine.apps.node.backup import write_backup
from gridspine.infra.runtime.logs import configure_logs

PASSWORDS = ("correct horse battery", "another horse battery", "wrong horse battery", "Sup3r-secret-guess")


async def test_a_whole_story_leaves_no_secret_in_plain_text(tmp_path, capfd) -> None:
    configure_logs("debug", as_json=True)
    try:
        async with running(tmp_path / "data", settings_for(archive=True)) as world:
            secrets = await story(world)
        assert len(secrets) > 15
        said = "".join(capfd.readouterr())
        for secret in secrets:
            assert secret not in said, "in the logs"
        looked_at = 0
        for path in (tmp_path / "data").rglob("*"):
            if not path.is_file():
                continue
            looked_at += 1
            body = path.read_bytes()
            found = [secret for secret in secrets if secret.encode() in body]
            assert found == [], path
        assert looked_at > 10
        check_modes(tmp_path / "data")
        target = tmp_path / "node.tar.zst"
        write_backup(tmp_path / "data", target)
        assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0, "a backup holds private keys"
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()


def check_modes(data) -> None:
    """The directory is its owner's alone; the folders of keys too, and every file in them."""
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for name in ("keys", "clients"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o700
        for path in (data / name).iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def story(world) -> list[str]:
    """Use every kind of secret once; return them all."""
    identity, node = world.node.identity, world.node
    secrets = [*PASSWORDS, *(identity.demo._principals), identity.first.new_code()]
    user = identity.users.add("northside-networks", "olga", PASSWORDS[0], ("administrator", "operator"))
    cookie = identity.sign_in("olga", PASSWORDS[0], "192.0.2.1")
    secrets += [cookie, identity.sessions.csrf_token(identity.sessions.find(cookie))]
    form = {"username": "olga", "password": PASSWORDS[3], "next": "/"}
    await world.nobody.post("/sign-in", data=form, headers={"sec-fetch-site": "same-origin"})
    headers = {"cookie": f"gridspine={cookie}", "x-csrf-token": secrets[-1], "sec-fetch-site": "same-origin"}
    ticket = (await world.nobody.post("/portal/ticket", headers=headers)).json()["ticket"]
    await world.nobody.get("/portal/live", params={"ticket": "not-" + ticket})
    secrets.append(ticket)
    device = (await world.op.post("/principals", json={
        "kind": "device", "name": "d", "roles": ["device"], "password": True})).json()  # fmt: skip
    secrets += [device["password"], device["bearer"]]
    secrets.append((await world.op.post(f"/principals/{device['id']}/device-password")).json()["password"])
    await world.op.post(f"/principals/{user.id}/password", json={"password": PASSWORDS[1]})
    keyed = Keyed(node, world.url, "northside-networks", "operator")
    for state, token in keyed.tokens.items():
        secrets.append(token)
        headers = keyed.headers(state, "GET", "/things")
        secrets += [headers["dpop"]] if "dpop" in headers else []
        await world.nobody.get("/things", headers=headers)
    secrets += [str(key.as_dict(private=True)["d"]) for key in keyed.keys.values()]
    leaked = OKPKey.generate_key("Ed25519").as_dict(private=True)
    answer = await world.op.post(f"/principals/{keyed.id}/keys", json={"jwk": {k: str(v) for k, v in leaked.items()}})
    assert answer.status_code == 400, "a private key is refused"
    secrets.append(str(leaked["d"]))
    await world.thing(METER_ID)
    await world.send(f"{METER_ID}/voltage", [230])
    node.registry.relay()
    listed = json.dumps((await world.op.get("/principals")).json())
    assert [secret for secret in secrets if secret in listed] == []
    return [secret for secret in secrets if secret]
