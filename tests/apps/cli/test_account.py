"""Logging in at a vendor's cloud: a person's browser, a loopback address, and a grant that only the node can read."""

import importlib.util
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from gridspine.apps.cli import account
from gridspine.apps.cli.account import obtain
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import Invalid

_FILE = Path(__file__).parents[2] / "adapters" / "wot_http" / "oauth_cloud.py"
if "oauth_cloud" not in sys.modules:
    _specification = importlib.util.spec_from_file_location("oauth_cloud", _FILE)
    assert _specification is not None and _specification.loader is not None
    sys.modules["oauth_cloud"] = _module = importlib.util.module_from_spec(_specification)
    _specification.loader.exec_module(_module)


@pytest.fixture
def cloud() -> Iterator[Any]:
    made = sys.modules["oauth_cloud"].OauthCloud()
    thread = made.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def person() -> Iterator[Callable[[str], bool]]:
    """A browser: it follows where it is sent, in a thread of its own, as a person would."""
    threads = []

    def browse(address: str) -> bool:
        thread = threading.Thread(target=lambda: httpx.get(address, follow_redirects=True, timeout=60))
        thread.start()
        threads.append(thread)
        return True

    yield browse
    for thread in threads:
        thread.join(10)


def logged_in(cloud: Any, browse: Callable[[str], Any], client: str = "client:s3cret", *, in_form: bool = False) -> str:
    token = f"{cloud.url}/token"
    return obtain(f"{cloud.url}/authorise", token, "read", client, 0, SystemClock(), browse, in_form=in_form)


def test_a_person_logs_in_and_the_code_is_proven(cloud: Any, person: Any) -> None:
    assert logged_in(cloud, person) == cloud.refresh == "refresh-token-1"


def test_a_secret_goes_where_the_vendor_wants_it(cloud: Any, person: Any) -> None:
    cloud.in_form = True
    assert logged_in(cloud, person, in_form=True) == cloud.refresh


def test_a_client_that_can_keep_no_secret_names_itself(cloud: Any, person: Any) -> None:
    cloud.secret = ""
    assert logged_in(cloud, person, "client:") == cloud.refresh


def test_a_vendor_that_refuses_is_quoted(cloud: Any, person: Any) -> None:
    with pytest.raises(Invalid, match="unauthorized_client"):
        logged_in(cloud, person, "stranger:x")
    with pytest.raises(Invalid, match="invalid_client"):
        logged_in(cloud, person, "client:wrong")


def test_whoever_comes_without_the_right_state_is_turned_away(cloud: Any, person: Any) -> None:
    """Another page of the browser cannot have the node read in somebody else's name."""
    answers: list[int] = []

    def browse(address: str) -> None:
        back = parse_qs(urlsplit(address).query)["redirect_uri"][0]

        def forged() -> None:
            for query in ("code=stolen&state=guess", "code=stolen", "error=no"):
                answers.append(httpx.get(f"{back}?{query}", timeout=60).status_code)
            answers.append(httpx.get(back.replace("/callback", "/other"), timeout=60).status_code)
            person(address)

        threading.Thread(target=forged).start()

    assert logged_in(cloud, browse) == cloud.refresh
    assert answers == [404] * 4


def test_the_grant_is_a_private_file_and_is_listed_and_forgotten(
    cloud: Any, person: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "node"
    data.mkdir(mode=0o700)
    (data / "format").write_text("1")
    monkeypatch.setattr(account.webbrowser, "open", person)
    monkeypatch.setenv("GRIDSPINE_SECRET_WOT_HTTP_ACME", "client:s3cret")
    where = ["--authorise", f"{cloud.url}/authorise", "--token", f"{cloud.url}/token", "--data", str(data)]
    run = CliRunner().invoke(account.app, ["login", "acme", *where])
    assert run.exit_code == 0, run.output
    assert "refresh" not in run.output
    (file,) = (data / "keys").glob("account.*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert msgspec.json.decode(file.read_bytes()) == {"refreshToken": cloud.refresh, "token": f"{cloud.url}/token"}
    assert "acme  127.0.0.1" in CliRunner().invoke(account.app, ["list", "--data", str(data)]).output
    assert CliRunner().invoke(account.app, ["forget", "acme", "--data", str(data)]).exit_code == 0
    assert not list((data / "keys").glob("account.*"))


@pytest.mark.parametrize(
    "options",
    [
        ["--authorise", "http://vendor.example/a", "--token", "https://vendor.example/t"],
        ["--authorise", "https://vendor.example/a", "--token", "http://vendor.example/t"],
        ["--authorise", "https://vendor.example/a"],
        ["--template", "eastron-sdm120"],
    ],
)
def test_secrets_go_nowhere_in_the_clear(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        raise CliRunner().invoke(account.app, ["login", "acme", *options, "--data", str(tmp_path)]).exception  # type: ignore[misc]
