"""One command in every language: what arrives at the device is what the adapter's ``quality.toml`` says of it."""

import asyncio
from functools import cache

import one_modbus
import one_mqtt
import one_ocpp
import pytest
from one_command import Heard, complaint, hear

from gridspine.apps.cli.reference_adapters import our_qualities
from gridspine.testing.facets import Fate, facets

SIDES = one_modbus.LANGUAGES | one_mqtt.LANGUAGES | one_ocpp.LANGUAGES
CONTROLS = {
    "OpenADR 2.0b", "OpenADR 3.1", "OpenADR 3.0.1", "IEEE 2030.5", "IEEE 2030.5, a lease", "OCPI 2.2.1 and 2.3.0",
}  # fmt: skip
"""Heard in ``test_controls.py`` and ``test_roaming.py``."""
CLAIMS = {name: said for quality in our_qualities().values() for name, said in quality.order.items()}


@cache
def _heard(language: str) -> Heard | Exception:
    try:
        return asyncio.run(hear(SIDES[language]))
    except Exception as error:
        return error  # kept: a language that cannot be heard is not tried again for each facet


def heard(language: str) -> Heard:
    found = _heard(language)
    if isinstance(found, Exception):
        raise found
    return found


def test_every_language_that_says_what_it_loses_is_heard() -> None:
    assert SIDES.keys() | CONTROLS == CLAIMS.keys()


@pytest.mark.parametrize("facet", facets())
@pytest.mark.parametrize("language", SIDES)
def test_what_is_said_of_a_facet_is_so(language: str, facet: str) -> None:
    assert complaint(facet, CLAIMS[language][facet], heard(language)) == ""


@pytest.mark.parametrize("facet", facets())
@pytest.mark.parametrize("language", SIDES)
def test_nothing_else_can_be_said_of_it(language: str, facet: str) -> None:
    """Each other claim, planted, is found to be false: so is one whose bounds are too narrow."""
    true = CLAIMS[language][facet]
    others = [Fate(state, "planted") for state in ("kept", "part", "lost") if state != true.state]
    if facets()[facet].unit and true.state != "part":
        others.append(Fate("part", "planted", (-0.5, 0.5)))
    if true.within:
        low, high = true.within
        wanted, arrived = heard(language).numbers[facet]
        off = (arrived - wanted) / heard(language).unit[facet]
        others += [Fate("part", "planted", (low, off - 0.01)), Fate("part", "planted", (off + 0.01, high))]
    for planted in others:
        assert complaint(facet, planted, heard(language)), planted
