"""What may be attached to a Thing, told by its first bytes and not by what its sender says.

Only what a browser shows without running it, or does not show at all, is on the list: no HTML, SVG, scripts, programs
or office documents with macros. Sources: the formats' own specifications for their signatures (PNG, JPEG, GIF, WebP as
RIFF, PDF ISO 32000, gzip RFC 1952, ZIP APPNOTE, PEM RFC 7468); WHATWG MIME Sniffing for what browsers would guess.
"""

import re

import msgspec

from gridspine.kernel.errors import Invalid, UnsupportedMedia

_SIGNATURES: dict[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "application/pdf": re.compile(rb"%PDF-\d\.\d"),
    "application/gzip": re.compile(rb"\x1f\x8b\x08"),
    "application/zip": re.compile(rb"PK\x03\x04"),
    "application/pem-certificate-chain": re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n"),
}
_TEXTS = frozenset({"text/plain", "text/csv", "application/json"})
MEDIA_TYPES = tuple(sorted((*_SIGNATURES, *_TEXTS)))
"""What is taken."""
_MARKUP = re.compile(rb"^\s*<(?:!|\?|[a-z])", re.IGNORECASE)
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,120}")
_SECRET = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")


def check_media(declared: str, content: bytes) -> str:
    """Return the media type of ``content``, declared as ``declared``; raise `UnsupportedMedia` or `Invalid`.

    Parameters (``; charset=…``) are dropped: texts are UTF-8.
    """
    media_type = declared.partition(";")[0].strip().lower()
    signature = _SIGNATURES.get(media_type)
    if signature is None and media_type not in _TEXTS:
        raise UnsupportedMedia(f"{media_type[:60]!r} is not taken; taken are {', '.join(MEDIA_TYPES)}")
    if not content:
        raise Invalid("the file is empty")
    if signature is not None and not signature.match(content):
        raise UnsupportedMedia(f"the file does not begin as {media_type} does: send it as what it is")
    if media_type in _TEXTS:
        _check_text(media_type, content)
    if _SECRET.search(content):
        raise Invalid("the file holds a private key: keep it to yourself; attach the certificate alone")
    return media_type


def check_name(name: str) -> str:
    """Return a file's name; raise `Invalid` where it could mean a path, or nothing a person can read."""
    if not _NAME.fullmatch(name) or name != name.strip() or name.strip(".") == "" or not name.isprintable():
        raise Invalid('name: 1 to 120 printable characters, without / \\ : * ? " < > |')
    return name


def _check_text(media_type: str, content: bytes) -> None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsupportedMedia(f"{media_type} must be UTF-8: byte {error.start} is not") from error
    if "\0" in text or _MARKUP.match(content):
        raise UnsupportedMedia(f"the file is not {media_type}: it holds NUL, or begins like a web page")
    if media_type == "application/json":
        try:
            msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UnsupportedMedia(f"the file is not JSON: {error}") from error
