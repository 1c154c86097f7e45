"""Requests to partners: to addresses that may be connected to, with the token that is theirs, and bounded answers.

::

    call ─► https? its token's own origin? ─► the address rule ─► request ─► envelope ─► 1xxx? data : `PartnerError`

No redirect is followed, and no page of a list is fetched from elsewhere than the list itself: tokens go nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from gridspine.adapters.ocpi.settings import Settings
from gridspine.adapters.ocpi.wire import Party, next_link, read_envelope, write_token
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.clock import new_id
from gridspine.infra.runtime.guarded_http import guarded_client, read_body
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable
from gridspine.things.adapter import AdapterContext

TIMEOUT_S, MAX_ANSWER_BYTES, MAX_PAGES, MAX_OBJECTS = 30.0, 8 << 20, 1_000, 20_000
"""How long an answer takes at most [s], and how large it is [byte]; how many pages a list has, and objects a page."""
_PORTS = {"http": 80, "https": 443}


class PartnerError(GridspineError):
    """A partner did not do what it was asked; ``status_code`` is OCPI's, 0 where it did not speak OCPI."""

    status, code, title = 503, "unavailable", "A partner did not do it"

    def __init__(self, detail: str, status_code: int = 0, http: int = 0) -> None:
        super().__init__(detail)
        self.status_code, self.http = status_code, http


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address; raise `Invalid` for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid(f"{url[:100]!r} is no address: {error}") from error
    named = parts.scheme in _PORTS and parts.hostname and url.isascii() and url.isprintable() and " " not in url
    if not named or port == 0 or parts.username is not None or parts.password is not None:
        raise Invalid(f"{url[:100]!r}: https://host[:port]/… is needed, without a user")
    return parts.scheme, parts.hostname or "", port or _PORTS[parts.scheme]


class Client:
    """Sends requests. ``run`` keeps its connections."""

    def __init__(self, context: AdapterContext, settings: Settings) -> None:
        self._context, self._plain, self._us = context, settings.plain, settings.party
        rule = AddressRule(settings.allow, settings.only, "adapters.settings.ocpi")
        self._http = guarded_client(rule, TIMEOUT_S)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    def check(self, url: str) -> None:
        """Raise `Invalid` for an address that nothing is ever sent to."""
        if origin_of(url)[0] == "http" and not self._plain:
            raise Invalid("https is needed: nothing is sent in plain text unless the settings say plain = true")

    async def call(
        self, method: str, url: str, token: str, body: Any = msgspec.UNSET, *, to: Party | None = None
    ) -> Any:
        """Return the ``data`` of the answer, None for none; raise `PartnerError`, `Invalid`, `Unavailable`."""
        return (await self._ask(method, url, token, body, to))[0]

    async def pages(self, url: str, token: str, *, to: Party | None = None) -> AsyncIterator[list[Any]]:
        """Yield the objects of a list, page by page: no more than one is held."""
        origin, following = origin_of(url), url
        for _ in range(MAX_PAGES):
            data, headers = await self._ask("GET", following, token, msgspec.UNSET, to)
            if not isinstance(data, list):
                raise PartnerError("the partner's answer is no list")
            if len(data) > MAX_OBJECTS:
                raise PartnerError(f"more than {MAX_OBJECTS} objects of a page are not taken")
            yield data
            following = next_link(headers.get_list("link"))
            if not following:
                return
            if origin_of(following) != origin:
                raise PartnerError("the next page would be elsewhere: it is not fetched")
        raise PartnerError(f"more than {MAX_PAGES} pages are not fetched")

    async def _ask(self, method: str, url: str, token: str, body: Any, to: Party | None) -> tuple[Any, httpx.Headers]:
        self.check(url)
        parts = urlsplit(url)
        sent = b"" if body is msgspec.UNSET else msgspec.json.encode(body)
        trace = self._context.trace
        try:
            async with asyncio.timeout(TIMEOUT_S):
                headers = self._headers(token, to, with_body=bool(sent))
                request = self._http.build_request(method, url, content=sent, headers=headers)
                if trace.on:
                    trace("out", f"{method} {request.url.raw_path.decode()}\n".encode() + sent, peer=parts.netloc)
                answer = await self._http.send(request, stream=True)
                try:
                    got = await read_body(answer, MAX_ANSWER_BYTES, "the partner", PartnerError)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise Unavailable(f"{parts.hostname} cannot be reached: {type(error).__name__}") from error
        if trace.on:
            trace("in", b"%d " % answer.status_code + got, peer=parts.netloc)
        return _read(answer, got), answer.headers

    def _headers(self, token: str, to: Party | None, *, with_body: bool) -> dict[str, str]:
        clock = self._context.clock
        headers = {
            "authorization": write_token(token), "x-request-id": new_id(clock), "x-correlation-id": new_id(clock),
            "accept": "application/json",
        }  # fmt: skip
        if with_body:
            headers["content-type"] = "application/json"
        if to is not None:
            headers |= {
                "ocpi-to-party-id": to.party_id, "ocpi-to-country-code": to.country_code,
                "ocpi-from-party-id": self._us.party_id, "ocpi-from-country-code": self._us.country_code,
            }  # fmt: skip
        return headers


def _read(answer: httpx.Response, got: bytes) -> Any:
    try:
        envelope = read_envelope(got)
    except Invalid as error:
        raise PartnerError(f"HTTP {answer.status_code}: {error.detail}", 0, answer.status_code) from error
    if not answer.is_success or not 1000 <= envelope.status_code < 2000:
        words = f"the partner answers {envelope.status_code} (HTTP {answer.status_code})"
        raise PartnerError(f"{words}: {envelope.status_message[:200]}", envelope.status_code, answer.status_code)
    return None if envelope.data is msgspec.UNSET else envelope.data
