"""A warm interpreter that forks the processes that tests kill: a start of two seconds takes a tenth.

Run as a program it reads one JSON object a line, ``{"work": name, "log": path, …arguments}``, forks a child that does
that work, and answers with the child's process id. Its children die with it, and it with who started it.
"""

import asyncio
import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def say(path: str, what: dict[str, Any]) -> None:
    """Write ``what`` to ``path`` in one step."""
    fresh = Path(f"{path}.fresh")
    fresh.write_text(json.dumps(what))
    fresh.replace(path)


def node(data: str, ready: str, principals: list[str], settings: dict[str, Any], files: int = 0) -> None:
    """Run a node on ``data``; ``ready`` gets its port and a token for each of ``principals``.

    ``files`` bounds the descriptors it may have open.
    """
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    import msgspec

    from gridspine.apps.node.run import run
    from gridspine.infra.runtime.settings import Settings

    def tell(running: Any, port: int) -> None:
        say(ready, {"port": port, "tokens": [running.identity.demo.issue(one) for one in principals]})

    asyncio.run(run(msgspec.convert(settings, Settings), Path(data), tell))


def archive(arguments: list[str]) -> None:
    """Run the archive's worker process."""
    from gridspine.infra.archive.worker import main

    sys.exit(main(arguments))


def meter(arguments: list[str], password: str) -> None:
    """Run the simulated meter's process."""
    from gridspine.apps.demo.meter import main

    os.environ["GRIDSPINE_METER_PASSWORD"] = password
    sys.argv[1:] = arguments
    main()


def subscriber(port: int, token: str, product: str, kept: str) -> None:
    """Follow a stream; keep each batch with its cursor as one line of ``kept``, and go on from the last whole one."""
    import http.client
    import urllib.parse

    with Path(kept).open("a+b") as file:
        file.seek(0)
        whole = file.read().rpartition(b"\n")[0]
        file.truncate(len(whole) + bool(whole))
        cursor = json.loads(whole.rpartition(b"\n")[2])["cursor"] if whole else "0:0"
        wire = http.client.HTTPConnection("127.0.0.1", port)
        path = f"/products/{urllib.parse.quote(product)}/stream?cursor={cursor}"
        wire.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = wire.getresponse()
        assert answer.status == 200, answer.read()
        event = ""
        while line := answer.readline().decode().rstrip("\n"):
            pass  # the greeting
        while raw := answer.readline():
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "id":
                cursor = value
            elif name == "data" and event == "readings":
                batch = json.loads(value)
                continue
            elif not line and event == "readings" and not name:
                file.write(json.dumps({"cursor": cursor, "values": [one["v"] for one in batch]}).encode() + b"\n")
                file.flush()
                event = ""


WORKS = {work.__name__: work for work in (node, archive, meter, subscriber)}


def warm() -> None:
    """Import what the works need, before the first is asked for."""
    import gridspine.apps.demo.meter
    import gridspine.infra.archive.worker  # noqa: F401
    from gridspine.apps.node.run import start
    from gridspine.infra.runtime.settings import Archive, Http, Settings

    async def once() -> None:
        """The first node of a process takes five times as long as the next: routes, policies, schemas are made."""
        settings = Settings(demo=True, http=Http(port=0), archive=Archive(enabled=False))
        with tempfile.TemporaryDirectory() as folder:
            await (await start(settings, Path(folder) / "data")).stop()

    asyncio.run(once())
    assert threading.active_count() == 1, "a fork takes no threads with it"


def child(asked: dict[str, Any]) -> None:
    """Become the process that was asked for; never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(asked.pop("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    code = 1
    try:
        WORKS[asked.pop("work")](**asked)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Fork what is asked for until standard input ends; then the children go too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: who asked watches the process id
    warm()
    print("warm", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            child(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
