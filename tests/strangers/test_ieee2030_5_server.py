"""gridappsd-2030-5, from PyPI, is a utility's server that the node follows: its EndDevice, PIN, program and default.

It pins libraries that end with Python 3.10, and shows neither subscriptions nor CSIP-AUS.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gridspine.adapters.ieee2030_5.identity import lfdi_of
from tests.ports import free_port

HERE = Path(__file__).parent / "ieee2030_5"
HOME = Path(__file__).parents[2] / ".tools" / "ieee2030_5_server"
_CSIP = HERE.parents[1] / "adapters" / "ieee2030_5"
for _name, _path in (
    ("running_node", HERE.parents[1] / "apps" / "running.py"), ("hosted_node", HERE.parents[1] / "apps" / "hosted.py"),
    ("csip_pki", _CSIP / "pki.py"), ("csip_utility", _CSIP / "utility.py"), ("csip_home", _CSIP / "home.py"),
):  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
from csip_home import Home  # noqa: E402
from csip_utility import until  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.slow]
CONFIG = """
server: 127.0.0.1
port: {port}
tls_repository: ./tls
openssl_cnf: openssl.cnf
server_mode: enddevices_create_on_start
include_default_der_on_all_devices: false
storage_path: ./store
fsas: [{{description: All, programs: [Usual]}}]
devices: [{{id: gateway, pin: 111115, fsas: [All], ders: [first]}}]
default_program:
  description: Usual
  primacy: 5
  DefaultDERControl: {{DERControlBase: {{opModConnect: true, rampTms: 250}}}}
"""


@pytest.fixture(scope="module")
def server():
    """Install exactly what is pinned, in an environment of its own; skip where it cannot be had."""
    kept = sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python"), reverse=True)
    named = [found for found in (shutil.which("python3.10"),) if found]
    works = (
        one for one in (*named, *map(str, kept)) if subprocess.run([one, "-c", ""], capture_output=True).returncode == 0
    )
    python = next(works, "")
    if not python or not shutil.which("uv"):
        pytest.skip("gridappsd-2030-5 needs Python 3.10 and uv")
    mark, wanted = HOME / "installed", HERE / "server.txt"
    if not mark.exists() or mark.read_text() != wanted.read_text():
        subprocess.run(["uv", "venv", "-q", "--clear", "-p", python, str(HOME)], check=True, timeout=240)
        install = ["uv", "pip", "install", "-q", "--no-deps", "-p", str(HOME / "bin" / "python"), "-r", str(wanted)]
        subprocess.run(install, check=True, timeout=600)
        mark.write_text(wanted.read_text())
    return HOME / "bin" / "2030_5_server"


@contextlib.asynccontextmanager
async def serving(command, folder):
    """Yield the server as `Home` knows utilities, with the certificates that it made."""
    folder.mkdir()
    port = free_port()
    (folder / "config.yml").write_text(CONFIG.format(port=port))
    shutil.copy(HERE / "openssl.cnf", folder)
    # It clears what it kept in its home, and knows no summer time in UTC.
    own = {**os.environ, "HOME": str(folder), "TZ": "America/New_York"}
    process = await asyncio.create_subprocess_exec(
        str(command), "config.yml", "--create-certs", cwd=folder, env=own, start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        certs, private = folder / "tls" / "certs", folder / "tls" / "private"

        async def there():
            assert process.returncode is None, "it ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                return True
            return None

        await until(there, 60)
        shown = x509.load_pem_x509_certificate((certs / "gateway.crt").read_bytes()).public_bytes(Encoding.DER)
        issued = SimpleNamespace(crt=certs / "gateway.crt", pem=private / "gateway.pem", lfdi=lfdi_of(shown))
        pki = SimpleNamespace(device=lambda _name: issued, ca=SimpleNamespace(crt=certs / "ca.crt"))
        yield SimpleNamespace(url=f"https://127.0.0.1:{port}", pki=pki)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.timeout(600)
async def test_a_strangers_server_is_followed(server, tmp_path) -> None:
    async with serving(server, tmp_path / "theirs") as utility:
        home = Home(utility, tmp_path / "home")
        await home.start(check_name=False)
        try:
            await home.settle(pin=111115)

            async def followed():
                return await home.programmes() or None

            (found,) = await until(followed, 60)
            assert (found["primacy"], found["defaultControl"]) == (5, {"connect": True, "rampS": 2.5})
            assert found["title"].startswith("Usual")
            await until(lambda: home.says(serverReached=1, controlsListed=0, controlsUnreadable=0), 60)
        finally:
            await home.stop()
