"""Requests to somebody else's VTN: with a token that is renewed, to a checked address, bounded, paced as it asks.

Sources: OpenADR 3.1.0, its OpenAPI document (``/auth/server``, ``/auth/token``, paging by ``skip`` and ``limit``);
RFC 6749 §4.4 (client credentials); RFC 9110 §10.2.3 (Retry-After), §13.1.2 (If-None-Match).
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import httpx
import msgspec

from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.settings import Settings
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.guarded_http import guarded_client, read_body
from gridspine.infra.runtime.web_place import origin_of, retry_after_s, split_address
from gridspine.kernel.errors import Invalid, NotFound, Overloaded, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext

MAX_BODY_BYTES, PAGE, MAX_PAGES, MAX_LIST_BYTES = 4 << 20, 50, 100, 64 << 20
"""What an answer has at most [bytes]; objects of a page; pages, and bytes, of a list: what is beyond is not read."""
_TIMEOUT_S, _TOKEN_S, _MOST_TOKEN_S, _EARLY_S, _PAUSE_S = 20.0, 300.0, 86_400.0, 30.0, 60
_JSON = {"content-type": "application/json"}
_FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


class Said(NamedTuple):
    """What was answered."""

    status: int
    headers: httpx.Headers
    body: bytes


def new_client(settings: Settings) -> httpx.AsyncClient:
    """Return a client that connects where the settings let it."""
    return guarded_client(AddressRule(settings.allow, settings.only, "adapters.settings.openadr3"), _TIMEOUT_S)


class Remote:
    """One VTN, as one client of it sees it."""

    def __init__(
        self, connection: Connection, organisation: str, context: AdapterContext, settings: Settings,
        client: httpx.AsyncClient,
    ) -> None:  # fmt: skip
        self._connection, self._organisation, self._settings = connection, organisation, settings
        self._secrets, self._trace, self._client = context.secrets, context.trace, client
        self._clock: Clock = context.clock
        self._base = connection.vtn.rstrip("/")
        self._token, self._renew_us = "", 0
        self._token_url = connection.token_url
        self._lists: dict[str, tuple[str, list[dict[str, Any]]]] = {}

    async def ask(self, method: str, path: str, body: Any = None, tag: str = "") -> Said:
        """Return what ``path`` answers: 2xx, or 304 to ``tag``.

        Raises `NotFound` for 404, `Invalid` for other 4xx, `Overloaded` when less is to be asked, else `Unavailable`.
        """
        sent = b"" if body is None else msgspec.json.encode(body)
        more = {**(_JSON if sent else {}), **({"if-none-match": tag} if tag else {})}
        for attempt in range(2):
            head = {"authorization": f"Bearer {await self.bearer()}", "accept": "application/json", **more}
            self._trace("out", f"{method} {path}\n".encode() + sent, peer=self._base)
            said = await self._send(method, f"{self._base}{path}", head, sent)
            self._trace("in", f"{said.status}\n".encode() + said.body, peer=self._base)
            if said.status != 401 or attempt:
                break
            self._token = ""  # it may have ended before its time: one more, and then it is the VTN's word
        if said.status in {429, 503}:
            pause_s = retry_after_s(said.headers.get("retry-after", "")) or _PAUSE_S
            raise Overloaded(f"the VTN answers {said.status}: less is to be asked", retry_after_s=pause_s)
        if said.status == 404:
            raise NotFound(f"the VTN knows no {path[:100]}")
        if 400 <= said.status < 500 and said.status != 401:
            raise Invalid(f"the VTN refuses {method} {path[:100]} with {said.status}: {_detail(said.body)}")
        if not (200 <= said.status < 300 or (tag and said.status == 304)):
            raise Unavailable(f"the VTN answers {said.status} to {method} {path[:100]}")
        return said

    async def all(self, path: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return a whole list, page by page; one of a single page is asked for by its tag."""
        known_tag, known = self._lists.get(path, ("", []))
        found: dict[str, dict[str, Any]] = {}
        size = 0
        for at in range(MAX_PAGES):
            asked = httpx.QueryParams({**(query or {}), "skip": str(at * PAGE), "limit": str(PAGE)})
            said = await self.ask("GET", f"{path}?{asked}", tag="" if at else known_tag)
            if said.status == 304:
                return known
            size += len(said.body)
            if size > MAX_LIST_BYTES:
                raise Invalid(f"{path} of the VTN has more than {MAX_LIST_BYTES} bytes: name the programs to follow")
            page = _objects(said.body, path)
            before = len(found)
            found.update((str(one.get("id", "")), one) for one in page)
            if len(page) < PAGE or len(found) == before:  # one that knows no pages answers all of it again
                break
        else:
            raise Invalid(f"{path} of the VTN has more than {MAX_PAGES * PAGE} objects: name the programs to follow")
        tag = said.headers.get("etag", "")
        self._lists[path] = (tag if at == 0 and not query and len(tag) <= 256 else "", list(found.values()))
        return self._lists[path][1]

    async def whole(self, path: str, known: Collection[str]) -> list[dict[str, Any]]:
        """Return a whole list; one of several pages that lacks some ``known`` is read twice, and has what either has.

        What is removed between two pages moves the first of the next page to the one that was read.
        """
        found = await self.all(path)
        ids = {one["id"] for one in found}
        if len(found) < PAGE or ids.issuperset(known):
            return found
        again = await self.all(path)
        seen = {one["id"] for one in again}
        return [*again, *(one for one in found if one["id"] not in seen)]

    async def bearer(self) -> str:
        """Return a token that holds for a while yet."""
        if self._token and self._clock.monotonic_us() < self._renew_us:
            return self._token
        url = self._token_url or await self._find_token_url()
        form = {
            "grant_type": "client_credentials", "client_id": self._connection.client_id,
            "client_secret": self._secret(url), **({"scope": self._connection.scope} if self._connection.scope else {}),
        }  # fmt: skip
        said = await self._send("POST", url, dict(_FORM), str(httpx.QueryParams(form)).encode())
        self._trace("note", f"token: {said.status}", peer=url)
        if said.status in {429, 503}:
            pause_s = retry_after_s(said.headers.get("retry-after", "")) or _PAUSE_S
            raise Overloaded(f"no token: {url[:100]} answers {said.status}", retry_after_s=pause_s)
        try:
            token, holds_s = token_of(said.body)
        except Invalid as error:
            raise Unavailable(f"no token: {said.status} from {url[:100]}") from error
        if not (0 < len(token) <= 16_384 and token.isascii() and token.isprintable() and holds_s > 0):
            raise Unavailable(f"no token: {url[:100]} answers one that cannot be used")
        self._token = token
        self._renew_us = self._clock.monotonic_us() + round((holds_s - min(_EARLY_S, holds_s / 5)) * US)
        return token

    async def _find_token_url(self) -> str:
        """Return where tokens are had: 3.1.0 says so, where it is asked."""
        self._token_url = f"{self._base}/auth/token"
        if self._connection.edition == "3.1.0":
            said = await self._send("GET", f"{self._base}/auth/server", {"accept": "application/json"}, b"")
            if said.status >= 500:
                self._token_url = ""
                raise Unavailable(f"the VTN answers {said.status}")
            try:
                told = str(msgspec.json.decode(said.body)["tokenURL"]) if said.status == 200 else ""
            except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise Invalid("auth/server of the VTN names no tokenURL") from error
            self._token_url = told or self._token_url
        return self._token_url

    def _secret(self, url: str) -> str:
        """Return the secret to take to ``url``; raise `Invalid` where it has no leave, or is not set."""
        name = self._connection.secret
        leave = self._settings.vtns.get(name)
        if leave is None or self._organisation not in leave.organisations:
            raise Invalid(
                f"there is no secret {name[:60]!r} for Things of this organisation: adapters.settings.openadr3.vtns"
            )
        if not leave.permits(url, self._organisation):
            raise Invalid(f"secret {name[:60]!r} may not be taken to {origin_of(url)[:100]}")
        if name.lower() not in self._secrets:
            raise Invalid(f"secret {name[:60]!r} is not set: GRIDSPINE_SECRET_OPENADR3_{name.upper()[:60]}")
        return self._secrets[name.lower()]

    async def _send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Said:
        if split_address(url).scheme == "http" and not self._settings.plain_vtns:
            raise Invalid("vtn: https is needed: a secret and its tokens are not sent in plain text")
        try:
            request = self._client.build_request(method, url, headers=headers, content=body)
            answer = await self._client.send(request, stream=True)
            try:
                got = await read_body(answer, MAX_BODY_BYTES, "the VTN", Invalid)
            finally:
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unavailable(f"the VTN does not answer: {type(error).__name__}") from error
        return Said(answer.status_code, answer.headers, got)


def token_of(body: bytes) -> tuple[str, float]:
    """Return a token and how long it holds [s], a day at most; raise `Invalid` for what is none."""
    try:
        given: Any = msgspec.json.decode(body)
        return str(given["access_token"]), min(float(given.get("expires_in") or _TOKEN_S), _MOST_TOKEN_S)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"that is no token: {type(error).__name__}") from error
    except (ValueError, OverflowError) as error:  # JSON's whole numbers may have hundreds of digits
        raise Invalid("expires_in: it is no number of seconds") from error


def _objects(body: bytes, path: str) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(body, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable(f"{path} of the VTN is no list of objects") from error
    return [one for one in found if isinstance(one.get("id"), str)]


def _detail(body: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(body)
        return str(found.get("detail") or found.get("title") or "")[:200]
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, RecursionError):
        return ""
