"""A vendor's cloud of these tests: OAuth 2 with PKCE, refresh tokens that are replaced and watched, pages, rate limits.

Nothing of it is the adapter's: RFC 6749 §4.1, §4.4, §5.2 and §6, RFC 7636, read by its own few lines.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


class OauthCloud(ThreadingHTTPServer):
    """``systems`` by id, listed ``page`` a page; ``statuses`` and ``headers`` are answered first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.systems: dict[str, dict[str, Any]] = {str(at): {"system_id": at, "power": 100 * at} for at in (1, 2, 3)}
        self.page = 2
        self.client, self.secret = "client", "s3cret"
        self.in_form = False
        """Whether the client proves itself in the form, and nowhere else."""
        self.codes: dict[str, dict[str, str]] = {}
        self.refresh = "first-refresh-token"
        self.used: list[str] = []
        self.access: set[str] = set()
        self.granted = 0
        self.expires_in: Any = 3600
        self.revoked = False
        self.foreign_next = ""
        self.asked: list[str] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.more: dict[str, str] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        return thread

    def token(self, form: dict[str, str], basic: str) -> tuple[int, dict[str, Any]]:
        """Answer at the token endpoint; an old refresh token that comes again ends the grant."""
        expected = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        given = form.get("client_id"), form.get("client_secret", "")
        by_form = given == (self.client, self.secret) and (self.in_form or not self.secret)
        if not by_form and (self.in_form or basic != f"Basic {expected}"):
            return 401, {"error": "invalid_client"}
        kind = form.get("grant_type")
        if kind == "authorization_code":
            asked = self.codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if not asked or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
                return 400, {"error": "invalid_grant"}
        elif kind == "refresh_token":
            given = form.get("refresh_token", "")
            if given in self.used:
                self.revoked = True
            if self.revoked or given != self.refresh:
                return 400, {"error": "invalid_grant"}
            self.used.append(given)
        elif kind != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        self.granted += 1
        access = f"access-{self.granted}"
        self.access.add(access)
        said = {"access_token": access, "token_type": "bearer", "expires_in": self.expires_in}
        if kind != "client_credentials":
            self.refresh = f"refresh-token-{self.granted}"
            said["refresh_token"] = self.refresh
        return 200, said


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OauthCloud

    def do_GET(self) -> None:
        cloud, parts = self.server, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with cloud.lock:
            if parts.path == "/authorise":
                return self._authorised(query)
            cloud.asked.append(self.path)
            if cloud.statuses:
                status, headers = cloud.statuses.pop(0)
                return self._say(status, {}, headers)
            if self.headers.get("authorization", "").removeprefix("Bearer ") not in cloud.access:
                return self._say(401, {"error": "invalid_token"})
            at = int(query.get("page", "1"))
            listed = list(cloud.systems.values())
            last = at * cloud.page >= len(listed)
            following = cloud.foreign_next or (None if last else f"/systems?page={at + 1}")
            return self._say(200, {"systems": listed[(at - 1) * cloud.page : at * cloud.page], "next": following})

    def _authorised(self, query: dict[str, str]) -> None:
        if query.get("client_id") != self.server.client or query.get("code_challenge_method") != "S256":
            back = {"error": "unauthorized_client", "state": query["state"]}
        else:
            self.server.codes["the-code"] = query
            back = {"code": "the-code", "state": query["state"]}
        self._say(302, {}, {"location": f"{query['redirect_uri']}?{urlencode(back)}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        with self.server.lock:
            self._say(*self.server.token(form, self.headers.get("authorization", "")))

    def _say(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**self.server.more, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return
