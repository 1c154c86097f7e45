"""What a route is handed besides its request."""

from litestar.di import NamedDependency

from gridspine.apps.node.node import Node

TheNode = NamedDependency[Node]
"""The node: a parameter ``node: TheNode`` of a route."""
