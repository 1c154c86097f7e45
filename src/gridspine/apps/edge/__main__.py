"""``gridspine-edge``: run an edge until SIGINT or SIGTERM. ``gridspine edge`` starts the same."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

# Logs need no colours here: structlog takes rich when it finds it, and that is a tenth of an edge's memory.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

from gridspine.apps.edge.edge import Edge  # noqa: E402
from gridspine.apps.edge.proof import EdgeKey  # noqa: E402
from gridspine.apps.edge.settings import load_edge_settings  # noqa: E402
from gridspine.infra.runtime.clock import SystemClock  # noqa: E402
from gridspine.infra.runtime.logs import configure_logs  # noqa: E402
from gridspine.infra.runtime.systemd import READY, STOPPING, keep_alive, notify  # noqa: E402
from gridspine.kernel.errors import GridspineError  # noqa: E402

DEFAULT_SETTINGS = Path("edge.toml")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(path: Path) -> None:
    """Run the edge of the settings file ``path``."""
    settings = load_edge_settings(path)
    configure_logs(settings.log_level, as_json=settings.log_json)
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    edge = Edge(settings, EdgeKey.read(Path(settings.key)), SystemClock())
    alive = asyncio.create_task(keep_alive(edge.alive))
    try:
        await edge.start()
        notify(READY)
        await stopping.wait()
    finally:
        notify(STOPPING)
        for number in _SIGNALS:  # a second one ends it as it is: what it said it has is on disk
            loop.remove_signal_handler(number)
        alive.cancel()
        await edge.stop()


def main() -> int:
    """Run; an operating error is one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="gridspine edge", description="Run an edge: a light process beside devices.")
    parser.add_argument("--settings", type=Path, default=DEFAULT_SETTINGS, help="settings file (default: edge.toml)")
    arguments = parser.parse_args()
    try:
        asyncio.run(run(arguments.settings))
    except GridspineError as error:
        print(f"gridspine edge: {error.detail}", file=sys.stderr)  # noqa: T201 - the last word to whoever started it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
