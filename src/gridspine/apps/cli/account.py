"""``gridspine account``: a person logs in at a vendor's cloud, once, and the node reads there in their name.

::

    login ─► browser: the vendor asks the person ─► http://127.0.0.1:PORT/callback?code=… ─► token endpoint ─► keyring

Authorisation code with PKCE (RFC 6749 §4.1, RFC 7636 S256), answered on loopback (RFC 8252 §7.3); the clauses were not
read again. Nothing of what is had is printed; the refresh token is a private file beside the node's own keys.
"""

import base64
import hashlib
import hmac
import os
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec
import typer

from gridspine.apps.cli.client import Data
from gridspine.apps.node.adapter_keyring import AdapterKeyring
from gridspine.apps.node.paths import Paths, data_directory
from gridspine.apps.node.templates import get_template
from gridspine.infra.identity.custody import Custody
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.infra.runtime.secret import PREFIX
from gridspine.infra.runtime.web_place import split_address
from gridspine.kernel.errors import Invalid, NotFound, Unavailable
from gridspine.things.template import HttpTemplate

app = typer.Typer(help="Accounts at vendors' clouds that the node reads.", no_args_is_help=True)
ADAPTER = "wot_http"
_WAIT_S = 300.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_MAX_TOKEN_CHARS = 16_384
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the secret: of GRIDSPINE_SECRET_WOT_HTTP_{NAME}.")]


@app.command()
def login(
    name: Name,
    template: Annotated[str, typer.Option(help="The device template that says where to log in.")] = "",
    authorise: Annotated[str, typer.Option(help="Without a template: where a person is asked.")] = "",
    token: Annotated[str, typer.Option(help="Without a template: where tokens are had.")] = "",
    scopes: Annotated[str, typer.Option(help="What to ask for, parted by blanks.")] = "",
    in_form: Annotated[
        bool, typer.Option(help="Send the client's secret in the form, where a vendor asks so.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port on this machine for the answer; 0: any. Some vendors fix it.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or show the address.")
    ] = True,
    data: Data = None,
) -> None:
    """Log in at a vendor's cloud and keep the grant for the node; a node that runs takes it at its next request.

    The client's id and secret are in GRIDSPINE_SECRET_WOT_HTTP_{NAME}, `id:secret`, or `id:` alone; else they are
    asked for.
    """
    if template:
        found = get_template(Paths(data_directory(data)).templates, template)
        if not isinstance(found, HttpTemplate) or not found.http.authorise:
            raise Invalid(f"template {template} has no place where a person logs in")
        authorise, token = authorise or found.http.authorise, token or found.http.token
        scopes = scopes or found.http.scopes
        in_form = in_form or found.http.client == "form"
    for option, address in (("--authorise", authorise), ("--token", token)):
        _check(option, address)
    client = os.environ.get(f"{PREFIX}{ADAPTER.upper()}_{name.upper()}") or typer.prompt(
        "Client, id:secret", hide_input=True
    )
    keyring = _keyring(data)
    clock = SystemClock()

    def show(address: str) -> None:
        if not browser or not webbrowser.open(address):
            typer.echo(f"open this address: {address}")

    refresh = obtain(authorise, token, scopes, client, port, clock, show, in_form=in_form)
    keyring.write(name, msgspec.json.encode({"refreshToken": refresh, "token": token}))
    typer.echo(f"logged in: {name} is read in your name until you revoke it at {urlsplit(token).hostname}")


@app.command("list")
def list_(data: Data = None) -> None:
    """List the accounts that somebody logged in for, and where."""
    keyring = _keyring(data)
    for name in keyring.names():
        kept = keyring.read(name)
        where = msgspec.json.decode(kept).get("token", "") if kept else ""
        typer.echo(f"{name}  {urlsplit(where).netloc}")


@app.command()
def forget(name: Name, data: Data = None) -> None:
    """Forget an account's grant here; revoke it at the vendor's, too."""
    keyring = _keyring(data)
    if keyring.read(name) is None:
        raise NotFound(f"nobody has logged in for {name}")
    keyring.write(name, None)
    typer.echo(f"forgotten: {name}")


def obtain(
    authorise: str, token: str, scopes: str, client: str, port: int, clock: Clock, show: Callable[[str], None],
    *, in_form: bool = False,
) -> str:  # fmt: skip
    """Return a refresh token that a person gave their word for; ``show`` brings them to an address.

    The client's secret goes into the token request's header, or ``in_form``.

    Raises `Invalid` when they, or the vendor, refuse, and `Unavailable` when nobody answers.
    """
    verifier, state = _word(clock, 48), _word(clock, 24)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with _Callback(("127.0.0.1", port), state) as server:
        redirect = f"http://127.0.0.1:{server.server_address[1]}/callback"
        asked = {
            "response_type": "code", "client_id": client.partition(":")[0], "redirect_uri": redirect, "state": state,
            "code_challenge": challenge, "code_challenge_method": "S256", **({"scope": scopes} if scopes else {}),
        }  # fmt: skip
        show(authorise + ("&" if "?" in authorise else "?") + urlencode(asked))
        code = server.wait()
    return _exchanged(token, client, {"code": code, "redirect_uri": redirect, "code_verifier": verifier}, in_form)


class _Callback(HTTPServer):
    """Waits for the vendor to send the person back, with the very state they left with; all else is turned away."""

    def __init__(self, address: tuple[str, int], state: str) -> None:
        super().__init__(address, _Answer)
        self.state, self.code, self.refused = state, "", ""
        self.timeout = 1.0

    def wait(self) -> str:
        """Return the code."""
        until_s = time.monotonic() + _WAIT_S
        while not self.code and not self.refused:
            if time.monotonic() > until_s:
                raise Unavailable(f"nobody logged in within {_WAIT_S:g} s")
            self.handle_request()
        if self.refused:
            raise Invalid(f"the vendor refused: {self.refused}")
        return self.code


class _Answer(BaseHTTPRequestHandler):
    """The page that a person comes back to."""

    server: _Callback
    timeout = 5.0

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        right = hmac.compare_digest(given.get("state", "").encode(), self.server.state.encode())
        if parts.path != "/callback" or not right:
            self._say(404, "This is not the page you were sent to.")
        elif "code" in given:
            self.server.code = given["code"]
            self._say(200, "You are logged in. You can close this page.")
        else:
            self.server.refused = "".join(c for c in given.get("error", "without a word") if c.isprintable())[:100]
            self._say(200, "You are not logged in. You can close this page.")

    def _say(self, status: int, words: str) -> None:
        body = words.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.send_header("referrer-policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep still: the code is in what would be logged."""


def _exchanged(token: str, client: str, given: dict[str, str], in_form: bool) -> str:
    name, _, password = client.partition(":")
    by_header = bool(password) and not in_form
    form = {"grant_type": "authorization_code", **given} | ({} if by_header else {"client_id": name})
    if password and in_form:
        form["client_secret"] = password
    try:
        answer = httpx.post(
            token, data=form, auth=(name, password) if by_header else None, timeout=30.0, follow_redirects=False,
            headers={"accept": "application/json"},
        )  # fmt: skip
        said = msgspec.json.decode(answer.content)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise Unavailable(f"no token from {urlsplit(token).hostname}: {type(error).__name__}") from error
    refresh = said.get("refresh_token") if isinstance(said, dict) else None
    if answer.status_code != 200 or not isinstance(refresh, str) or not 0 < len(refresh) <= _MAX_TOKEN_CHARS:
        why = str(said.get("error", "it sent no refresh token"))[:100] if isinstance(said, dict) else "no document"
        raise Invalid(f"{urlsplit(token).hostname} gave no grant ({answer.status_code}): {why}")
    return refresh


def _check(option: str, address: str) -> None:
    parts = split_address(address)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise Invalid(f"{option}: https is needed, for secrets are sent there")


def _word(clock: Clock, size: int) -> str:
    return base64.urlsafe_b64encode(clock.randbytes(size)).rstrip(b"=").decode()


def _keyring(data: Path | None) -> AdapterKeyring:
    paths = Paths(data_directory(data))
    if not paths.format.exists():
        raise NotFound(f"{paths.root} is not a data directory of gridspine: name one with --data")
    return AdapterKeyring(Custody(paths.keys, SystemClock()), ADAPTER)
