"""One utility's server: mutual TLS, requests of XML, and nothing beyond that server.

A link leads to the server itself or nowhere: what a server writes into its documents sends nobody elsewhere.
"""

import ssl
from collections.abc import Callable
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec

from gridspine.adapters.ieee2030_5.identity import check_lfdi, lfdi_of
from gridspine.adapters.ieee2030_5.wire import MEDIA, Element, Part, Version, decode
from gridspine.infra.runtime.guarded_http import operators_client, read_body
from gridspine.kernel.errors import Conflict, Forbidden, GridspineError, Invalid, NotFound, TooLarge, Unavailable

MAX_BODY_BYTES = 4_194_304
TIMEOUT_S = 20.0
_LONGEST = 2_000
"""Characters of an address at most."""
Trace = Callable[[str, str], None]
"""Is told each message: its direction, and what was said."""


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a utility's server is reached, and whom the node is there.

    ``url`` is that of its DeviceCapability. ``certificate`` and ``key`` are the files (PEM) of the client's own
    certificate, with the chain that the server asks for; ``ca`` is the file of the authorities that the server's is
    from. ``ciphers`` are OpenSSL's names, "" for its own choice. Certificates of IEEE 2030.5 often name no host: with
    ``check_name`` false the server's authority is all that is checked. What the server says is asked for anew at its
    own rates, and after ``poll_most_s`` [s] at the latest.

    ``notification_url`` is where the server reaches the listener *notifications* of the adapter: with it all is
    subscribed to that may be. Notifications are the server's by its certificate, or that of ``server_lfdi`` where it
    shows another one as a client.
    """

    url: str
    certificate: str
    key: str
    ca: str
    ciphers: str = ""
    check_name: bool = True
    csip_aus: Version = "1.2"
    poll_most_s: float = 86_400.0
    notification_url: str = ""
    server_lfdi: str = ""

    def check(self, where: str) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        try:
            address = urlsplit(self.url)
            httpx.URL(self.url, port=address.port)
        except (ValueError, httpx.InvalidURL) as error:
            raise Invalid(f"{where}.url: {error}") from error
        if address.scheme != "https" or not address.hostname or address.username:
            raise Invalid(f"{where}.url: an https address is needed, without a user's name")
        if not 0.1 <= self.poll_most_s <= 86_400:
            raise Invalid(f"{where}.poll_most_s: 0.1 s to a day")
        try:
            told = urlsplit(self.notification_url)
        except ValueError as error:
            raise Invalid(f"{where}.notification_url: {error}") from error
        if self.notification_url and (told.scheme != "https" or not told.hostname or told.username or told.query):
            raise Invalid(f"{where}.notification_url: an https address is needed, without a user's name or a query")
        if self.server_lfdi:
            check_lfdi(self.server_lfdi)

    def notification_uri(self, name: str) -> str:
        """Return where the server of the utility ``name`` is to post notifications, "" for nowhere."""
        return f"{self.notification_url.rstrip('/')}/notified/{quote(name, safe='')}" if self.notification_url else ""


def tls_of(access: Access) -> ssl.SSLContext:
    """Return the context of a server's connections; blocks. Raises `Invalid` for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = access.check_name
    try:
        context.load_verify_locations(access.ca)
        context.load_cert_chain(access.certificate, access.key)
    except OSError as error:  # ssl.SSLError is one, too
        raise Invalid(f"certificate, key, ca: they cannot be used: {error}") from error
    try:
        if access.ciphers:
            context.set_ciphers(access.ciphers)
    except ssl.SSLError as error:
        raise Invalid(f"ciphers: {access.ciphers!r} is no list of ciphers that this OpenSSL has") from error
    return context


class Failed(Unavailable):
    """The server answers, and says that it failed at this one request (500)."""


class Connection:
    """Requests to one server. Close it by ``close``."""

    def __init__(self, access: Access, tls: ssl.SSLContext, trace: Trace = lambda _direction, _said: None) -> None:
        self._access, self._trace = access, trace
        self.server_lfdi = ""
        """LFDI of the certificate that the server showed last, "" before it did."""
        self._root = httpx.URL(access.url)
        limits = httpx.Limits(max_connections=4, max_keepalive_connections=4)
        self._http = operators_client(TIMEOUT_S, tls, limits)

    @property
    def host(self) -> str:
        """Name of the server's host."""
        return self._root.host

    @property
    def path(self) -> str:
        """Where DeviceCapability is."""
        return urlsplit(self._access.url).path or "/dcap"

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def get(self, href: str) -> Element:
        """Return a document; raise `NotFound`, `Forbidden`, `Invalid`, `Failed`; `Unavailable` where nobody answers."""
        _, _, body = await self._ask("GET", href, None)
        return decode(body)

    async def put(self, href: str, said: Part) -> None:
        """Replace a resource."""
        await self._ask("PUT", href, said)

    async def post(self, href: str, said: Part) -> str:
        """Add a resource; return where it is, "" where the server says nothing of it."""
        _, headers, _ = await self._ask("POST", href, said)
        return str(headers.get("location", ""))

    async def delete(self, href: str) -> None:
        """Take a resource away."""
        await self._ask("DELETE", href, None)

    async def _ask(self, method: str, href: str, said: Part | None) -> tuple[int, httpx.Headers, bytes]:
        url = self._url(href)
        content = None if said is None else said.document(self._access.csip_aus)
        headers = {"accept": MEDIA} | ({} if content is None else {"content-type": MEDIA})
        if content is not None:
            self._trace("out", f"{method} {url.path}\n{content.decode()}")
        try:
            async with self._http.stream(method, url, content=content, headers=headers) as answer:
                self._know(answer)
                body = await read_body(answer, MAX_BODY_BYTES, "the server", TooLarge)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise Unavailable(f"{self.host}: {type(error).__name__}: {str(error)[:200]}") from error
        shown = body.decode(errors="replace")
        self._trace("in", f"{answer.status_code} {method} {url.path}\n{shown}")
        if not answer.is_success:
            raise _refused(method, url.path, answer.status_code)
        return answer.status_code, answer.headers, body

    def _know(self, answer: httpx.Response) -> None:
        """Note whom the server is, by the certificate of the connection that it answers on."""
        stream = answer.extensions.get("network_stream")
        tls = None if stream is None else stream.get_extra_info("ssl_object")
        shown = None if tls is None else tls.getpeercert(binary_form=True)
        if shown:
            self.server_lfdi = lfdi_of(shown)

    def _url(self, href: str) -> httpx.URL:
        if len(href) > _LONGEST:
            raise Invalid(f"{href[:200]!r} is too long for an address")
        try:
            found = httpx.URL(urljoin(self._access.url, href))
        except (ValueError, httpx.InvalidURL) as error:
            raise Invalid(f"{href[:200]!r} is no address") from error
        if (found.scheme, found.host, found.port) != (self._root.scheme, self._root.host, self._root.port):
            raise Invalid(f"{href[:200]!r} leads away from the server")
        return found


def _refused(method: str, path: str, status: int) -> GridspineError:
    said = f"the server answers {status} to {method} {path[:200]}"
    if status in {401, 403}:
        return Forbidden(said)
    if status in {404, 410} or 300 <= status < 400:
        return NotFound(said)
    if status == 409:
        return Conflict(said)
    if status == 500:
        return Failed(said)
    if status == 429 or status >= 500:
        return Unavailable(said)
    return Invalid(said)
