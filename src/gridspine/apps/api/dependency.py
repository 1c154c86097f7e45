"""What a route is handed besides its request."""

from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from gridspine.apps.node.control_port import CallerControls
from gridspine.apps.node.node import Node

TheNode = NamedDependency[Node]
"""The node: a parameter ``node: TheNode`` of a route."""


def controls_of(node: Node, request: Request[Any, Any, Any]) -> CallerControls:
    """Return sites, programmes and what hangs on them in the name of a request's caller."""
    return CallerControls(node.authority, node.controls, request.user)
