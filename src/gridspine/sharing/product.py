"""A data product: named points an organisation publishes, with a contract.

Source: Open Data Contract Standard (ODCS) 3.1 in spirit: what the data is, under which licence, for which purposes.
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid

MAX_POINTS = 100_000
MAX_PURPOSES = 50
_MAX_LINE, _MAX_TEXT = 200, 10_000


class Contract(msgspec.Struct, frozen=True, rename="camel"):
    """The promise of a product.

    ``licence`` is an SPDX identifier or a URL; ``purposes`` are those a grant may name; ``schema`` names the form of
    the readings, which is the same for all products of this release. ``sample`` is what anyone may see before asking:
    the form only, or the last readings too. ``channel`` is what the readings are: reported by devices, planned, or
    emulated; a product has those of one channel and of no other.
    """

    licence: str
    purposes: tuple[str, ...]
    description: str = ""
    schema: str = "gridspine.readings.v1"
    sample: Literal["form", "readings"] = "form"
    channel: Literal["reported", "planned", "emulated"] = "reported"

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.purposes) <= MAX_PURPOSES:
            raise Invalid(f"contract.purposes: 1 to {MAX_PURPOSES} purposes are needed")
        if not all(0 < len(purpose) <= _MAX_LINE for purpose in self.purposes):
            raise Invalid(f"contract.purposes: each has 1 to {_MAX_LINE} characters")
        if not 0 < len(self.licence) <= _MAX_LINE:
            raise Invalid(f"contract.licence: an SPDX identifier or a URL of at most {_MAX_LINE} characters is needed")
        if len(self.schema) > _MAX_LINE or len(self.description) > _MAX_TEXT:
            raise Invalid(f"contract: schema has at most {_MAX_LINE} characters, description {_MAX_TEXT}")


class Product(msgspec.Struct, frozen=True, rename="camel"):
    """What an organisation publishes: ``points`` are point ids, all of its own Things. ``version`` rises with them."""

    id: str
    owner: str
    title: str
    points: tuple[str, ...]
    contract: Contract
    version: int = 1
    state: Literal["published", "retired"] = "published"

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= _MAX_LINE:
            raise Invalid(f"title: 1 to {_MAX_LINE} characters are needed")
        if not 0 < len(self.points) <= MAX_POINTS:
            raise Invalid(f"points: a product has 1 to {MAX_POINTS} points")
        if len(set(self.points)) != len(self.points):
            raise Invalid("points: each point once")
        self.contract.check()
