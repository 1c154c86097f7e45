"""The node's own keys, replaced while it runs; and what vouches for the ledger's."""

import asyncio
from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.authenticate import PUBLIC
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.keyring import handovers, rotate

Which = Literal["token", "ledger", "authority", "session", "device"]


class RotationView(msgspec.Struct, frozen=True):
    """A key that was replaced: ``key`` names which, ``words`` say what goes on and what to do next."""

    key: str
    words: str


@post("/node-keys/{key:str}/rotate", status_code=200, summary="Replace one of the node's keys", tags=["node"])
async def rotate_key(
    request: Request[Any, Any, Any], node: TheNode, key: FromPath[Which], at_once: FromQuery[bool] = False
) -> RotationView:
    """Replace the node's key for access tokens (`token`), the ledger's (`ledger`), its certificate authority's
    (`authority`: once to begin, once to end), or the secret behind portal sessions (`session`) or device passwords
    (`device`). What the old one made stays good for as long as it says; with `at_once`, which `token` knows, it ends.
    """
    node.authority.on_node(request.user, "keys.rotate")
    words = await asyncio.to_thread(rotate, node, key, at_once=at_once, actor=request.user.principal)
    return RotationView(key, words)


@get("/ledger/handovers", opt=PUBLIC, summary="How the ledger's keys followed each other", tags=["ledger"])
async def read_handovers(node: TheNode) -> list[str]:
    """Return a note for each time the ledger's key was replaced, oldest first: a checkpoint that names the next key,
    signed by the old one and the new. `gridspine ledger verify --handover` takes them."""
    return await asyncio.to_thread(handovers, node)


@get("/authority", opt=PUBLIC, summary="The node's certificate authority", tags=["node"], media_type="text/plain")
async def read_authority(node: TheNode) -> str:
    """Return the certificates to trust the node's TLS by, in PEM: two while the authority is being replaced."""
    return node.identity.authority.ca_pem.decode()
