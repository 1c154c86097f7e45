"""An edge that does not come to its end is ended by a second signal."""

import signal
import subprocess
import sys

STUCK = """
import asyncio
from types import SimpleNamespace
from gridspine.apps.edge import __main__ as program

class Stuck:
    alive = None

    def __init__(self, *given): ...

    async def start(self):
        print("started", flush=True)

    async def stop(self):
        print("stopping", flush=True)
        await asyncio.Event().wait()

async def alive(check): ...

program.Edge, program.keep_alive = Stuck, alive
program.load_edge_settings = lambda path: SimpleNamespace(key="", log_level="info", log_json=False)
program.EdgeKey = SimpleNamespace(read=lambda path: None)
program.main()
"""


def test_a_second_signal_ends_an_edge_that_hangs():
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "stopping\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == -signal.SIGTERM
        finally:
            process.kill()
