"""The Thing Models that come with the house: the templates of the energy Things we know.

Each ``<name>.tm.json`` beside this file is a Thing Model (W3C WoT Thing Description 1.1, §10) with our ``gs:`` terms
(`gridspine.things.model`). Power is import positive, export negative; energy is two registers. The numbers are those
of the class a model's title names: a site with a larger plant registers a model of its own.
"""

from functools import cache
from importlib import resources

import msgspec

from gridspine.things.model import ThingModel, parse_model

_SUFFIX = ".tm.json"


@cache
def _read_models() -> tuple[tuple[str, ThingModel], ...]:
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        (file.name.removesuffix(_SUFFIX), parse_model(msgspec.json.decode(file.read_bytes())))
        for file in files
        if file.name.endswith(_SUFFIX)
    )


def load_models() -> dict[str, ThingModel]:
    """Return the Thing Models by short name: ``meter``, ``pv_inverter``, ``battery``; a new dict each time.

    Raises `Invalid` when a file is not a Thing Model.
    """
    return dict(_read_models())
