"""openleadr-vtn, from crates.io, as a process over a PostgreSQL of the test's own; business logic and VENs of it.

::

    initdb ─► postgres, on a socket in the folder ◄─ openleadr-vtn ◄─ business logic: its HTTP API, by `Vtn.bl`
                                                          ▲
                                                          └─ the node, as a VEN: client id and secret of `Vtn.ven`

PostgreSQL runs as nobody's administrator: where the tests are root's, as the user that its package made.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from tests.ports import free_port

VTN = Path(__file__).parents[3] / ".tools" / "openleadr" / "bin" / "openleadr-vtn"
_OF_PYPI = VTN.parents[1] / "postgres"
_LEAST = 16
"""PostgreSQL's version that its migrations need: subqueries without an alias."""
_SECRET = "thirty-two bytes, or more of them, for tests"
_OF_BL = "read_all write_programs write_events write_reports_bl write_vens_bl write_subscriptions_bl write_users"
_OF_VEN = ["read_targets", "read_ven_objects", "write_reports_ven", "write_subscriptions_ven", "write_vens_ven"]


def programs_of_postgres():
    """Return the folder of PostgreSQL's programs, None where there are none that are new enough."""
    found = {int(path.parts[-3]): path.parent for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/initdb")}
    if (version := max(found, default=0)) >= _LEAST:
        return found[version]
    return next(
        (path.parent for path in _OF_PYPI.glob("lib/python3*/site-packages/pgserver/pginstall/bin/initdb")), None
    )


def _user():
    """Return what has a program run as somebody who is not root."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            known = pwd.getpwnam(name)
            return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
    raise AssertionError("there is nobody to run PostgreSQL as")


class Cluster:
    """A PostgreSQL that listens on a socket in ``folder`` and nowhere else."""

    def __init__(self, folder):
        self.folder, self._programs, self._user, self._process = folder, programs_of_postgres(), _user(), None
        if self._user and self._programs.is_relative_to(_OF_PYPI):  # others cannot reach what is root's
            packages = self._programs.parents[2]
            for one in packages.glob("pgserver*"):
                shutil.copytree(one, folder / "packages" / one.name, symlinks=True)
            self._programs = folder / "packages" / self._programs.relative_to(packages)

    def run(self, name, *words):
        done = subprocess.run(
            [self._programs / name, *words], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
            **self._user,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])
        words = "-U", "openadr", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"
        self.run("initdb", "-D", str(self.folder / "data"), *words)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", "-k", str(self.folder), "-c", "listen_addresses=",
                 "-c", "fsync=off"], cwd=self.folder, stdout=log, stderr=log, **self._user,
            )  # fmt: skip
        end = time.monotonic() + 60
        while not (self.folder / ".s.PGSQL.5432").exists() or self._is_starting():
            assert self._process.poll() is None and time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _is_starting(self):
        asked = [self._programs / "pg_isready", "-q", "-h", self.folder, "-U", "openadr"]
        return subprocess.run(asked, timeout=30, check=False).returncode != 0

    def stop(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast: it waits for nobody
            self._process.wait(60)


@contextlib.contextmanager
def cluster():
    """Yield a `Cluster` in a folder that others than its owner can reach, with a short name, as sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="openleadr-", dir="/tmp"))
    one = Cluster(folder)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)


class Vtn:
    """A VTN over a database of its own, at ``url``, and its business logic ``bl``."""

    def __init__(self, database, name, folder, **environment):
        self._folder, self._process = folder, None
        database.run("createdb", "-h", str(database.folder), "-U", "openadr", name)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            "PATH": os.environ["PATH"], "PORT": str(port), "RUST_LOG": "info",
            "DATABASE_URL": f"postgres://openadr@localhost/{name}?host={database.folder}",
            "OAUTH_TYPE": "INTERNAL", "OAUTH_TOKEN_URL": f"{self.url}/auth/token",
            **environment,
        }  # fmt: skip
        self.bl = httpx.AsyncClient(base_url=self.url, timeout=60)

    async def start(self, secret=_SECRET):
        """Start it, or start it again, to sign tokens with ``secret``; return when it answers."""
        self._environment["OAUTH_BASE64_SECRET"] = base64.b64encode(secret.encode()).decode()
        self.bl.headers["authorization"] = f"Bearer {_token(secret.encode())}"
        with (self._folder / "vtn.log").open("ab") as log:
            self._process = subprocess.Popen(
                [VTN], cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )  # fmt: skip
        async with asyncio.timeout(60):
            while True:
                assert self._process.poll() is None, (self._folder / "vtn.log").read_text()[-3000:]
                with contextlib.suppress(httpx.TransportError):
                    if (await self.bl.get("/health")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def stop(self):
        """Have it stop as its operator would; after a while it is ended."""
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self._process.kill()  # it waits for clients to hang up
                await asyncio.to_thread(self._process.wait, 20)
            self._process = None

    async def ven(self, name):
        """Return client id and secret of a new VEN."""
        user = await self.made("/users", {"reference": name, "scope": _OF_VEN})
        secret = "a secret of a VEN"
        body = {"client_id": f"client-{name}", "client_secret": secret}
        await self.made(f"/users/{user['id']}", body, status=200)
        return body["client_id"], secret

    async def made(self, path, body, status=201):
        answer = await self.bl.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def listed(self, path):
        answer = await self.bl.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def serving(database, name, folder, **environment):
    """Yield a `Vtn` that runs."""
    one = Vtn(database, name, folder, **environment)
    try:
        await one.start()
        yield one
    finally:
        await one.bl.aclose()
        await one.stop()


def _token(secret):
    """Return a JWT of business logic, signed as the VTN signs its own."""
    head, said = {"alg": "HS256", "typ": "JWT"}, {"sub": "utility", "exp": int(time.time()) + 3600, "scope": _OF_BL}
    text = b".".join(_word(json.dumps(one).encode()) for one in (head, said))
    return (text + b"." + _word(hmac.digest(secret, text, hashlib.sha256))).decode()


def _word(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")
