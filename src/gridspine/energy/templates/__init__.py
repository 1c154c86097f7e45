"""The device templates that come with the house: what registers, topics and answers of real devices mean.

Each ``<name>.toml`` beside this file is a template (`gridspine.things.template`) with the document its facts are from.
"""

from functools import cache
from importlib import resources

from gridspine.energy.models import load_models
from gridspine.things.template import Template
from gridspine.things.template_read import Models, by_short_name, read_template

_SUFFIX = ".toml"


@cache
def known_models() -> Models:
    """Return what finds the Thing Models that templates may name as their class."""
    return by_short_name(load_models())


@cache
def _read_templates() -> tuple[tuple[str, Template], ...]:
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        (file.name.removesuffix(_SUFFIX), read_template(file.read_bytes(), known_models()))
        for file in files
        if file.name.endswith(_SUFFIX)
    )


def load_templates() -> dict[str, Template]:
    """Return the templates by name: ``eastron-sdm630``, ``shelly-pro-3em``; a new dict each time.

    Raises `Invalid` when a file is not a template.
    """
    return dict(_read_templates())
