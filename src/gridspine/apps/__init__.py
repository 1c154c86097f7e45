"""Composition roots only: the node, its API, portal, command line and demo.

The web framework lives here and nowhere else.
"""
