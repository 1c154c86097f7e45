"""A node under the load of a shape, archive and granted subscriber included: intake and memory are measured so."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from rig import Rig, answer, child, seed
from shapes import SHAPES, names_of

from gridspine.energy.models import load_models


class Load(NamedTuple):
    """The children: ``listener`` answers what it had when asked, ``sender`` what was sent when it is through."""

    listener: Any
    sender: Any
    before_s: float
    """Processor time of the node when the load began [s]."""


@contextlib.contextmanager
def under_load(rig: Rig, name: str, seconds: float) -> Iterator[Load]:
    """Start a node with the Things of shape ``name``, and load it for ``seconds`` [s]."""
    shape = SHAPES[name]
    things = shape.gateways * shape.things
    seed(rig.data, load_models()["meter"], things)
    rig.start()
    producer = rig.principal("gateway", ["operator"])
    product, consumer = rig.share(names_of(0, things))
    address = rig.url.removeprefix("http://")
    with child("listen.py", f"ws://{address}", product, secret=consumer) as listener:
        answer(listener)
        time.sleep(0.5)
        before_s = rig.cpu_s()
        with child("load.py", address, name, str(seconds), secret=producer) as sender:
            answer(sender)
            yield Load(listener, sender, before_s)
