"""A data product: named points an organisation publishes, with a contract.

Source: Open Data Contract Standard (ODCS) 3.1 in spirit: what the data is, under which licence, for which purposes.
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid

MAX_POINTS = 100_000


class Contract(msgspec.Struct, frozen=True, rename="camel"):
    """The promise of a product.

    ``licence`` is an SPDX identifier or a URL; ``purposes`` are those a grant may name; ``schema`` names the form of
    the readings, which is the same for all products of this release. ``sample`` is what anyone may see before asking:
    the form only, or the last readings too.
    """

    licence: str
    purposes: tuple[str, ...]
    description: str = ""
    schema: str = "gridspine.readings.v1"
    sample: Literal["form", "readings"] = "form"


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
        if not self.title.strip():
            raise Invalid("title: a product needs a title")
        if not 0 < len(self.points) <= MAX_POINTS:
            raise Invalid(f"points: a product has 1 to {MAX_POINTS} points")
        if len(set(self.points)) != len(self.points):
            raise Invalid("points: each point once")
        if not self.contract.purposes:
            raise Invalid("contract.purposes: at least one purpose is needed")
        if not self.contract.licence:
            raise Invalid("contract.licence: an SPDX identifier or a URL is needed")
