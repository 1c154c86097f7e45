"""A small plant with a point of every kind, for the tests of screen and intake."""

from typing import Any

import numpy as np

from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import US
from gridspine.things.model import PointModel, ThingModel, parse_model
from gridspine.things.point import PointTable

NOW_US = 1_700_000_000 * US

POINTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "aPlain": ({"unit": "W"}, {"possibleMin": -50, "possibleMax": 50, "limitMin": -20, "limitMax": 20}),
    "bDeadband": ({"unit": "W"}, {"deadband": 2}),
    "cSpan": ({"unit": "%"}, {"deadbandPercent": 2, "span": 100, "limitMax": 20}),
    "dInterval": ({"unit": "W"}, {"deadband": 2, "minIntervalS": 5}),
    "eWaits": ({"unit": "V"}, {"minIntervalS": 3, "limitMax": 20}),
    "fRate": ({"unit": "W"}, {"maxRatePerS": 2, "deadband": 1}),
    "gRegister": ({"unit": "Wh", "kind": "register", "flow": "import"}, {"maxRatePerS": 5}),
    "hEnergy": ({"unit": "Wh", "kind": "interval", "intervalS": 900, "flow": "import"}, {}),
    "iState": ({"unit": "code", "kind": "state"}, {"possibleMin": 0, "possibleMax": 40}),
    "jFlaps": ({"unit": "code", "kind": "state"}, {"flapChanges": 2, "flapWindowS": 6, "limitMax": 8}),
    "kSetting": ({"unit": "W", "kind": "setting"}, {}),
    "lSettled": ({"unit": "W"}, {"settlement": True, "maxSilenceS": 0}),
}


def model() -> ThingModel:
    properties = {
        name: {"gs:readingType": {"flow": "none", **kind}, "gs:screen": rule} for name, (kind, rule) in POINTS.items()
    }
    return parse_model({"@type": "tm:ThingModel", "id": "urn:x:plant", "title": "Plant", "properties": properties})


class Plant:
    """A point table with Things of the model, each with all its points."""

    def __init__(self, things: int = 1) -> None:
        self.model = model()
        self.points = PointTable()
        self.points.add_model(self.model)
        self.models: dict[int, PointModel] = {}
        for _ in range(things):
            self.add()

    def add(self, organisation: str = "org") -> str:
        """Bind one more Thing and return its URN."""
        thing, first = f"urn:dev:t{self.points.thing_count}", self.points.count
        names = tuple(point.name for point in self.model.points)
        units = tuple(point.reading_type.unit for point in self.model.points)
        self.points.bind(PointBinding(first, thing, organisation, self.model.id, names, units, 0))
        self.models.update(enumerate(self.model.points, first))
        return thing

    def number(self, name: str, thing: int = 0) -> int:
        return self.points.number(f"urn:dev:t{thing}/{name}")


def readings(
    rows: list[tuple[int, float, float, int]],
    *,
    channel: Channel = Channel.REPORTED,
    backfill: bool = False,
    received_s: float = 100,
    source: str = "s",
) -> Readings:
    """Make a batch of (point, time [s after `NOW_US`], value, quality)."""
    return Readings(
        np.array([row[0] for row in rows], np.int32),
        np.array([NOW_US + round(row[1] * US) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.uint16),
        (source,),
        channel,
        NOW_US + round(received_s * US),
        backfill,
    )
