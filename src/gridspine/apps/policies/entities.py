"""Build the entities and facts that the policies beside this file look at; and read those policies."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from gridspine.infra.identity.caller import Caller
from gridspine.infra.policy.entity import Entity, ref

ROLES = ("administrator", "operator", "owner", "consumer", "device", "auditor")
"""The roles the policies know."""


def policy_texts() -> dict[str, str]:
    """Return the node's policies: file name → Cedar text."""
    folder = files("gridspine.apps.policies")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".cedar"))
    return {name: folder.joinpath(name).read_text("utf-8") for name in names}


def policy_schema() -> str:
    """Return the Cedar schema of the node's policies."""
    return files("gridspine.apps.policies").joinpath("gridspine.cedarschema").read_text("utf-8")


def caller_entity(caller: Caller) -> Entity:
    """Return an authenticated caller as a principal, with the roles this request may use."""
    attributes = {
        "organisation": ref("Organisation", caller.organisation),
        "kind": caller.kind,
        "roles": sorted(caller.roles),
        "active": True,
    }
    return Entity("Principal", caller.principal, attributes, (("Organisation", caller.organisation),))


def organisation_entity(id: str) -> Entity:
    """Return an organisation."""
    return Entity("Organisation", id)


def node_entity(organisation: str) -> Entity:
    """Return this node, which ``organisation`` runs."""
    return Entity("Node", "node", {"organisation": ref("Organisation", organisation)})


def thing_entity(thing: str, organisation: str, devices: Iterable[str] = ()) -> Entity:
    """Return a Thing of ``organisation``; ``devices`` are the ids of the device principals that speak for it."""
    speakers = [ref("Principal", device) for device in devices]
    return Entity("Thing", thing, {"organisation": ref("Organisation", organisation), "devices": speakers})


def product_entity(product: str, organisation: str) -> Entity:
    """Return a data product of ``organisation``."""
    return Entity("Product", product, {"organisation": ref("Organisation", organisation)})


def access_request_entity(request: str, *, product: str, owner: str, consumer: str) -> Entity:
    """Return a request by the organisation ``consumer`` for a product of the organisation ``owner``."""
    return Entity("AccessRequest", request, _between(product, owner, consumer))


def grant_entity(grant: str, *, product: str, owner: str, consumer: str) -> Entity:
    """Return a grant of the organisation ``owner`` to the organisation ``consumer``."""
    return Entity("Grant", grant, _between(product, owner, consumer))


def receive_context(
    now_us: int,
    purpose: str,
    *,
    product: str = "",
    consumer: str = "",
    state: str = "",
    from_us: int = 0,
    until_us: int = 0,
    purposes: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the facts of a delivery at ``now_us`` [µs since 1970] for ``purpose``.

    The rest describes the grant it leans on, valid in ``[from_us, until_us)``; with ``state`` empty there is none.
    """
    facts: dict[str, Any] = {"nowUs": now_us, "purpose": purpose}
    if state:
        facts["grant"] = {
            "product": ref("Product", product),
            "consumer": ref("Organisation", consumer),
            "state": state,
            "fromUs": from_us,
            "untilUs": until_us,
            "purposes": sorted(purposes),
        }
    return facts


def _between(product: str, owner: str, consumer: str) -> dict[str, Any]:
    return {
        "product": ref("Product", product),
        "owner": ref("Organisation", owner),
        "consumer": ref("Organisation", consumer),
    }
