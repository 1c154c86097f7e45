"""``gridspine``: the command line; but an edge or a node at once, without what only other commands need."""

import sys


def run() -> None:
    """Become an edge or a node when that is asked for, else run the command line."""
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if "--help" not in arguments:
        if command == ["edge"]:
            from gridspine.apps.cli.become import become_edge

            become_edge(arguments)
        if command == ["up"]:
            # Logs need no colours: structlog takes rich where it finds it, a twentieth of a node's start.
            sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
            from gridspine.apps.cli import up

            up.main(arguments)
            return
    from gridspine.apps.cli import main

    main.run()
