"""Snapshots to emit: values that a point of each model can have, of few digits and of both signs where it has them."""

from collections.abc import Iterator

from gridspine.energy.mapping import Reported, Snapshot
from gridspine.energy.models import load_models
from gridspine.things.model import PointModel, ThingModel

MODELS = load_models()
AT_US = 1_790_000_000_000_000


def sample_values(point: PointModel) -> list[float]:
    """Return some values the screen lets pass: all codes of a state, else whole ones and ones with a fraction."""
    if point.reading_type.codes:
        return [float(code) for code in point.reading_type.codes]
    screen = point.screen
    low = screen.possible_min if screen.possible_min is not None else 0.0
    high = screen.possible_max if screen.possible_max is not None else 9_876_540.0
    whole = [float(int(high * 0.3)), float(int(low + (high - low) * 0.1))]
    if high <= 1:
        return [0.5, 0.25, low]
    return [*whole, 0.0] if point.reading_type.unit == "1" else [*whole, whole[0] + 0.5, 0.0]


def snapshot_of(model: ThingModel, values: dict[str, float], quality: int = 0) -> Snapshot:
    """Return a snapshot of a Thing of ``model`` whose points have ``values``, all of one ``quality``."""
    reported = {name: Reported(value, quality, AT_US) for name, value in values.items()}
    return Snapshot("urn:dev:ops:32473-thing-7", 'Rosa\'s "house" & <garden>', model, reported)


def snapshots(model: ThingModel, quality: int = 0) -> Iterator[Snapshot]:
    """Yield snapshots of all points of ``model`` together, until each point has had each of its samples."""
    samples = {point.name: sample_values(point) for point in model.points}
    for turn in range(max(len(one) for one in samples.values())):
        yield snapshot_of(model, {name: values[turn % len(values)] for name, values in samples.items()}, quality)
