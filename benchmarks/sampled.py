"""``python sampled.py FILE COMMAND…``: run the command line ``gridspine COMMAND…`` and write a sampled profile to FILE.

A thread looks at every thread's stack 200 times a second. A sampler sees Python frames only: a long call into a
library shows as the line that makes it, and waiting for the interpreter's lock looks like work.
"""

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path = [one for one in sys.path if one != str(Path(__file__).parent)]  # its scripts are called as packages are

from gridspine.apps.cli.main import run  # noqa: E402

EVERY_S = 0.005
_IDLE = ("selectors.py", "threading.py", "queue.py")


def sample(stop: threading.Event, file: Path) -> None:
    """Count where the threads are until ``stop``, then write ``file``."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    looks = 0
    own = threading.get_ident()
    while not stop.wait(EVERY_S):
        looks += 1
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != own and not frame.f_code.co_filename.endswith(_IDLE):
                name = names.get(ident, "?").partition("_")[0]
                alone[f"{name}  {_place(frame)}:{frame.f_lineno}"] += 1
                within.update({f"{name}  {place}" for place in _stack(frame)})
    lines = [f"{looks} looks in {looks * EVERY_S:.0f} s; share of looks", "", "in the function itself:"]
    lines += [f"{100 * n / looks:6.1f} %  {place}" for place, n in alone.most_common(60)]
    lines += ["", "in the function or what it calls:"]
    lines += [f"{100 * n / looks:6.1f} %  {place}" for place, n in within.most_common(100)]
    file.write_text("\n".join(lines) + "\n")


def _stack(frame: FrameType | None) -> list[str]:
    places = []
    while frame is not None:
        places.append(_place(frame))
        frame = frame.f_back
    return places


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name} {frame.f_code.co_qualname}"


def main() -> None:
    """Sample while the command runs."""
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    stop = threading.Event()
    sampler = threading.Thread(target=sample, args=(stop, file), name="sampler", daemon=True)
    began = time.monotonic()
    sampler.start()
    try:
        run()
    finally:
        stop.set()
        sampler.join(10)
        print(f"profiled {time.monotonic() - began:.1f} s: {file}", file=sys.stderr)


if __name__ == "__main__":
    main()
