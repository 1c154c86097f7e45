"""``gridspine up``: run a node. `gridspine.apps.cli.launch` comes here at once: a node needs no command line."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from gridspine.apps.cli.give_up import plain_errors
from gridspine.apps.node.paths import DATA_HELP, data_directory, settings_file
from gridspine.infra.runtime.logs import configure_logs
from gridspine.infra.runtime.settings import load_settings

CONFIG_HELP = "Settings file (default: settings.toml in the data)."
log = structlog.get_logger(__name__)


def run_node(data: Path | None, config: Path | None) -> None:
    """Run a node until it is stopped."""
    directory = data_directory(data)
    settings = load_settings(config or settings_file(directory))
    configure_logs(settings.log_level, as_json=settings.log_json)
    from gridspine.apps.node.run import run

    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(run(settings, directory, _say_ready))


def main(arguments: Sequence[str]) -> None:
    """Run a node as ``arguments`` say; an operating error is one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="gridspine up", description="Run a node until it is stopped (Ctrl-C).")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument("--config", type=Path, help=CONFIG_HELP)
    options = parser.parse_args(arguments)
    with plain_errors():
        run_node(options.data, options.config)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop where it can be had (not on Windows, nor on every interpreter)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _say_ready(node: Any, port: int) -> None:
    address = f"http://{node.settings.http.host}:{port}"
    if node.settings.log_json:
        log.info("ready", organisation=node.settings.organisation, address=address)
    else:
        print(f"{node.settings.organisation}: ready at {address}", flush=True)
