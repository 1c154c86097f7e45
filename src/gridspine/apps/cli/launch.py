"""``gridspine``: the command line, but an edge at once, without what only a node's commands need."""

import sys


def run() -> None:
    """Become an edge when that is asked for, else run the command line."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["edge"] and "--help" not in arguments:
        from gridspine.apps.cli.become import become_edge

        become_edge(arguments[1:])
    from gridspine.apps.cli import main

    main.run()
