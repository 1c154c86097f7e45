"""Files of a Thing: attached, listed, handed out so that no browser runs them, removed."""

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.kernel.errors import TooLarge
from gridspine.kernel.time import format_rfc3339
from gridspine.things.attachment import Attachment

_SANDBOX = "default-src 'none'; sandbox; frame-ancestors 'none'"


class AttachmentView(msgspec.Struct, frozen=True, rename="camel"):
    """A file of a Thing; ``digest`` is the SHA-256 (hex) of its content, ``size`` in bytes."""

    id: str
    name: str
    media_type: str
    size: int
    digest: str
    by: str
    at: str
    note: str


@get("/things/{thing_id:str}/attachments", summary="List files of a Thing", tags=["lifecycle"])
async def list_attachments(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]
) -> list[AttachmentView]:
    """List the files the caller's organisation attached to a Thing."""
    thing = permitted(node, request, thing_id, "thing.read")
    found = await asyncio.to_thread(node.lives.attachments.of, thing.id, thing.organisation)
    return [attachment_view(one) for one in found]


@post(
    "/things/{thing_id:str}/attachments",
    summary="Attach a file to a Thing",
    description="The body is the file, Content-Type what it is: PNG, JPEG, WebP, PDF, text, CSV, JSON, PEM "
    "certificates, gzip or zip. What it begins with must agree. `name` is shown, and given to whoever downloads it.",
    tags=["lifecycle"],
)
async def attach(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    name: Annotated[str, Parameter(max_length=200)],
    note: Annotated[str, Parameter(max_length=500)] = "",
) -> AttachmentView:
    """Keep a photo, a manual, a certificate or a log with a Thing."""
    thing = permitted(node, request, thing_id, "thing.attach")
    attachments = node.lives.attachments
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > attachments.max_bytes:
        raise TooLarge(f"a file has at most {attachments.max_bytes} bytes")
    content, media_type = await request.body(), request.headers.get("content-type", "")
    kept = await asyncio.to_thread(
        attachments.attach, thing.id, thing.organisation, content, name=name, media_type=media_type,
        by=request.user.principal, note=note,
    )  # fmt: skip
    return attachment_view(kept)


@get("/things/{thing_id:str}/attachments/{attachment_id:str}", summary="Download a file of a Thing", tags=["lifecycle"])
async def read_attachment(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], attachment_id: FromPath[str]
) -> Response[bytes]:
    """Return a file's bytes, to be saved and not shown: no browser runs what somebody attached."""
    thing = permitted(node, request, thing_id, "thing.read")
    attachments = node.lives.attachments
    found = await asyncio.to_thread(attachments.get, thing.id, thing.organisation, attachment_id)
    content = await asyncio.to_thread(attachments.content, found)
    headers = {
        "Content-Disposition": disposition(found.name),
        "Content-Security-Policy": _SANDBOX,
        "ETag": f'"{found.digest}"',
    }
    return Response(content, media_type=found.media_type, headers=headers)


@post(
    "/things/{thing_id:str}/attachments/{attachment_id:str}/remove",
    status_code=200,
    summary="Remove a file of a Thing",
    tags=["lifecycle"],
)
async def remove_attachment(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], attachment_id: FromPath[str]
) -> AttachmentView:
    """Let go of a file; that it was there, and its hash, stay in the Thing's history."""
    thing = permitted(node, request, thing_id, "thing.attach")
    remove = node.lives.attachments.remove
    gone = await asyncio.to_thread(remove, thing.id, thing.organisation, attachment_id, by=request.user.principal)
    return attachment_view(gone)


def attachment_view(one: Attachment) -> AttachmentView:
    """Return an attachment as it is shown."""
    return AttachmentView(
        one.id, one.name, one.media_type, one.size, one.digest, one.by, format_rfc3339(one.at_us), one.note
    )


def disposition(name: str) -> str:
    """Return the Content-Disposition by which a browser saves a file under ``name`` (RFC 6266 §4, RFC 8187 §3.2)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
