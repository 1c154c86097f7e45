"""Requests for properties: to a checked address, bounded in size and time, never redirected, proven as described."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.pace import Buckets, Paces, exhausted_s
from gridspine.adapters.wot_http.proof import Security, api_key, basic, bearer, shared_key
from gridspine.adapters.wot_http.tokens import Tokens
from gridspine.adapters.wot_http.wire import MAX_BODY_BYTES
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.guarded_http import guarded_client
from gridspine.infra.runtime.web_place import origin_of, retry_after_s, split_address
from gridspine.kernel.errors import Invalid, Overloaded, Unavailable
from gridspine.things.adapter import PrivateStore, WireTrace

_PAUSE_S = 60
"""How long one that is asked too much is left alone, where it does not say how long."""
_MAX_DIGESTS = 10_000


class Answer(NamedTuple):
    """What was answered; a ``status`` of 304 says that it is what it was when it had the tag that was sent."""

    status: int
    body: bytes
    headers: httpx.Headers

    @property
    def media_type(self) -> str:
        """The media type of the body."""
        return str(self.headers.get("content-type", "application/json"))


class Session:
    """All requests of the adapter."""

    def __init__(
        self, guard: Guard, settings: Settings, clock: Clock, keyring: PrivateStore, trace: WireTrace | None = None
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._trace = trace
        self._timeout_s = settings.timeout_s
        self._room = asyncio.Semaphore(settings.max_requests)
        self._paces = Paces(settings.per_hour, clock)
        self._buckets = Buckets(settings.accounts, clock)
        self._tokens = Tokens(guard, clock, keyring, self._post)
        self._digests: dict[tuple[str, str], httpx.DigestAuth] = {}
        self._client = guarded_client(guard.addresses, settings.timeout_s)
        self._by_key: dict[str, httpx.AsyncClient] = {}
        """Clients that prove themselves by a shared key, by its secret's name."""

    async def get(self, href: str, security: Security, organisation: str, tag: str = "") -> Answer:
        """Return what ``href`` answers: whole (200), or that it is still what had the ``tag`` (304).

        Raises `Invalid` for what will not change by itself, `Overloaded` when it, or its pace, asks for a pause, else
        `Unavailable`.
        """
        more = {"if-none-match": tag} if tag else {}
        account = f"{organisation} {security.secret}" if security.secret else ""
        place = origin_of(href)
        self._buckets.take(security.secret, f"{account}@{place}")
        await self._paces.turn(href)
        async with self._room:
            answer = await self._asked(href, security, organisation, more)
        left_alone_s = exhausted_s(answer.headers)
        if answer.status in {429, 503}:
            pause_s = retry_after_s(answer.headers.get("retry-after", "")) or left_alone_s
            if pause_s or answer.status == 429:
                self._buckets.hold(f"{account}@{place}", pause_s or _PAUSE_S)
                raise Overloaded(f"it answers {answer.status}: too much is asked", retry_after_s=pause_s or _PAUSE_S)
        if left_alone_s:
            self._buckets.hold(f"{account}@{place}", left_alone_s)
        if answer.status != 200 and not (tag and answer.status == 304):
            raise Unavailable(f"it answers {answer.status}")
        return answer

    async def close(self) -> None:
        """Close all connections, when the tokens that are being had are kept."""
        await self._tokens.close()
        for client in (self._client, *self._by_key.values()):
            await client.aclose()

    async def _asked(self, href: str, security: Security, organisation: str, more: Mapping[str, str]) -> Answer:
        """Ask for ``href``, proven as ``security`` says, with ``more`` headers."""
        scheme = security.scheme
        if scheme == "nosec":
            return await self._send("GET", href, dict(more))
        secret = self._guard.secret(security.secret, href, organisation)
        if scheme == "digest":
            return await self._digested(href, security.secret, secret, more)
        if scheme == "psk":
            return await self._send("GET", href, dict(more), client=self._client_of(href, security.secret, secret))
        if scheme == "apikey":
            headers, query = api_key(security, secret)
            return await self._send("GET", href, {**more, **headers}, query=query)
        if scheme == "oauth2":
            return await self._granted(href, security, organisation, more)
        return await self._send("GET", href, {**more, **(basic(secret) if scheme == "basic" else bearer(secret))})

    async def _granted(self, href: str, security: Security, organisation: str, more: Mapping[str, str]) -> Answer:
        """Ask with an access token, and once more with another where it is not taken."""
        token = await self._tokens.get(security, organisation)
        answer = await self._send("GET", href, {**more, **bearer(token)})
        if answer.status == 401:
            self._tokens.forget(security, organisation, token)
            token = await self._tokens.get(security, organisation)
            answer = await self._send("GET", href, {**more, **bearer(token)})
        return answer

    async def _digested(self, href: str, name: str, secret: str, more: Mapping[str, str]) -> Answer:
        """Ask, and answer the challenge that comes (RFC 7616); the password itself never leaves."""
        user, _, password = secret.partition(":")
        if len(self._digests) >= _MAX_DIGESTS:
            self._digests.clear()
        proof = self._digests.setdefault((name, urlsplit(href).netloc), httpx.DigestAuth(user, password))
        flow = proof.auth_flow(await self._request("GET", href, dict(more)))
        request = next(flow)
        answer = await self._whole(request, self._client)
        try:
            request = flow.send(httpx.Response(answer.status, headers=answer.headers, request=request))
        except StopIteration:
            return answer
        except (httpx.HTTPError, LookupError, ValueError, NotImplementedError) as error:
            raise Unavailable("its challenge to prove ourselves (digest) cannot be answered") from error
        return await self._whole(request, self._client)

    def _client_of(self, href: str, name: str, secret: str) -> httpx.AsyncClient:
        if urlsplit(href).scheme != "https":
            raise Invalid("psk is a way of TLS, and its address is not https")
        if name not in self._by_key:
            self._by_key[name] = guarded_client(self._guard.addresses, self._timeout_s, shared_key(secret))
        return self._by_key[name]

    async def _post(self, href: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        # Not shown to who watches the wire: all that is said there are secrets.
        request = await self._request("POST", href, dict(headers), body)
        answer = await self._whole(request, self._client, shown=False)
        return answer.status, answer.body

    async def _send(
        self, method: str, href: str, headers: dict[str, str], content: bytes | None = None, *, query: str = "",
        client: httpx.AsyncClient | None = None,
    ) -> Answer:  # fmt: skip
        return await self._whole(await self._request(method, href, headers, content, query), client or self._client)

    async def _request(
        self, method: str, href: str, headers: dict[str, str], content: bytes | None = None, query: str = ""
    ) -> httpx.Request:
        """Return a request to ``href``; ``query`` is added to what it has."""
        url = split_address(href)._replace(fragment="").geturl()
        url += ("&" if "?" in url else "?") + query if query else ""
        try:
            return self._client.build_request(
                method, url, content=content, headers={"accept-encoding": "identity", **headers}
            )
        except httpx.InvalidURL as error:
            raise Invalid("it is no address that can be asked") from error

    async def _whole(self, request: httpx.Request, client: httpx.AsyncClient, *, shown: bool = True) -> Answer:
        """Send a request and read its answer, all of it in time: who answers byte by byte holds up nobody else."""
        if shown:
            self._show_request(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._sent(request, client)
                if shown:
                    self._show_answer(request, answer)
                return answer
        except TimeoutError as error:
            raise Unavailable(f"no whole answer within {self._timeout_s:g} s") from error

    def _show_request(self, request: httpx.Request) -> None:
        if self._trace is not None and self._trace.on:
            lines = [f"{request.method} {request.url}", *_lines(request.headers), "", _body(request.content)]
            self._trace("out", "\n".join(lines), peer=request.headers.get("host", ""))

    def _show_answer(self, request: httpx.Request, answer: Answer) -> None:
        if self._trace is not None and self._trace.on:
            lines = [str(answer.status), *_lines(answer.headers), "", _body(answer.body)]
            self._trace("in", "\n".join(lines), peer=request.headers.get("host", ""))

    async def _sent(self, request: httpx.Request, client: httpx.AsyncClient) -> Answer:
        try:
            answer = await client.send(request, stream=True)
            try:
                body = b""
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        raise Invalid(f"the answer has more than {MAX_BODY_BYTES} bytes")
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise Unavailable(str(error)[:200] or type(error).__name__) from error
        if answer.is_redirect and answer.status_code != 304:
            raise Invalid("it redirects elsewhere, and redirects are not followed")
        return Answer(answer.status_code, body, answer.headers)


def _lines(headers: httpx.Headers) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def _body(content: bytes) -> str:
    return content.decode(errors="backslashreplace")
