"""Screening rules as columns: one row for each point of each Thing Model."""

import numpy as np

from gridspine.kernel.time import US
from gridspine.things.column import Column
from gridspine.things.model import PointModel


class Rules:
    """Screening rules as columns, one row per model and point; NaN is *no such limit*."""

    _FLOATS = ("possible_min", "possible_max", "limit_min", "limit_max", "max_rate_per_s")

    def __init__(self) -> None:
        self.points: list[PointModel] = []
        self.possible_min = Column(np.float64, np.nan)
        self.possible_max = Column(np.float64, np.nan)
        self.limit_min = Column(np.float64, np.nan)
        self.limit_max = Column(np.float64, np.nan)
        self.max_rate_per_s = Column(np.float64, np.nan)
        self.deadband = Column(np.float64)
        self.min_interval_us = Column(np.int64)
        self.max_silence_us = Column(np.int64)
        self.max_future_us = Column(np.int64)
        self.flap_changes = Column(np.int32)
        self.flap_window_us = Column(np.int64)
        self.register = Column(np.bool_)
        self.state = Column(np.bool_)

    def add(self, point: PointModel) -> int:
        """Add the rule of a model's point and return its row."""
        row = len(self.points)
        self.points.append(point)
        screen = point.screen
        for name in self._FLOATS:
            value = getattr(screen, name)
            self._set(getattr(self, name), row, np.nan if value is None else value)
        self._set(self.deadband, row, screen.effective_deadband)
        self._set(self.min_interval_us, row, round(screen.min_interval_s * US))
        self._set(self.max_silence_us, row, round(screen.max_silence_s * US))
        self._set(self.max_future_us, row, round(screen.max_future_s * US))
        self._set(self.flap_changes, row, screen.flap_changes)
        self._set(self.flap_window_us, row, round(screen.flap_window_s * US))
        kind = point.reading_type.kind
        self._set(self.register, row, kind == "register")
        self._set(self.state, row, kind == "state")
        if kind in {"register", "interval"} and screen.possible_min is None:
            self.possible_min.array[row] = 0.0  # energy is two non-negative registers
        return row

    @staticmethod
    def _set(column: Column, row: int, value: float) -> None:
        column.grow(row + 1)
        column.array[row] = value
