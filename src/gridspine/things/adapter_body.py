"""Bodies of the requests that an adapter's listener serves: read whole, and never more than a bound."""

from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.things.adapter import Receive


async def read_body(receive: Receive, most_bytes: int) -> bytes:
    """Return a request's body; raise `TooLarge` for more than ``most_bytes``, `Invalid` when its sender goes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Invalid("the request ended before its body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise TooLarge(f"a body has at most {most_bytes} bytes here")
        if not message.get("more_body"):
            return b"".join(parts)
