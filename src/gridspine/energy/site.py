"""Sites: a connection point of the grid, its limits, and the Things behind it.

::

    grid ──┤ connection point: import ≤ …, export ≤ … ├──┬── guard   the Thing that keeps the limits itself, if any
                                                         ├── battery
                                                         ├── charger
                                                         └── load that nobody commands: uncontrolledLoadW

Source: ConnectionPoint of CSIP-AUS, by name; its clause was not read.
"""

import math

import msgspec

from gridspine.energy.control import MAX_W, Control
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn
from gridspine.things.thing import check_location

MAX_THINGS = 200
"""Things behind one connection point at most."""
MAX_TITLE, MAX_POINT_ID = 200, 128


class Site(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A connection point of ``organisation``.

    ``connection_point_id`` is what the network calls it. ``import_limit_w`` and ``export_limit_w`` [W] are what it may
    take and give at most, None for no limit of its own. ``uncontrolled_load_w`` [W] is what else behind it may take and
    nobody commands: it is set aside of every import limit. ``guard`` is the Thing of ``things`` that keeps limits of
    the connection point by itself, "" when none does. ``phases`` is 1 to 3. ``location`` is latitude, longitude
    [degrees].
    """

    id: str
    organisation: str
    title: str
    connection_point_id: str = ""
    phases: int = 3
    import_limit_w: float | None = None
    export_limit_w: float | None = None
    uncontrolled_load_w: float = 0.0
    things: tuple[str, ...] = ()
    guard: str = ""
    location: tuple[float, float] | None = None
    created_us: int = 0
    by: str = ""
    changed_by: str = ""
    changers: tuple[str, ...] = ()
    version: int = 1

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= MAX_TITLE:
            raise Invalid(f"title: 1 to {MAX_TITLE} characters are needed")
        if len(self.connection_point_id) > MAX_POINT_ID:
            raise Invalid(f"connectionPointId: at most {MAX_POINT_ID} characters")
        if not 1 <= self.phases <= 3:
            raise Invalid("phases: 1, 2 or 3")
        self.limits.check("site")
        if not (math.isfinite(self.uncontrolled_load_w) and 0 <= self.uncontrolled_load_w <= MAX_W):
            raise Invalid("uncontrolledLoadW: a power in W, 0 or more, is needed")
        if len(self.things) > MAX_THINGS:
            raise Invalid(f"things: at most {MAX_THINGS} behind one connection point")
        if len(set(self.things)) < len(self.things):
            raise Invalid("things: one is named twice")
        for thing in self.things:
            check_urn(thing)
        if self.guard and self.guard not in self.things:
            raise Invalid("guard: it must be one of things")
        if self.location is not None:
            check_location(self.location)

    @property
    def limits(self) -> Control:
        """The connection point's own limits, which always hold."""
        return Control(import_limit_w=self.import_limit_w, export_limit_w=self.export_limit_w)

    @property
    def principal(self) -> str:
        """In whose name its limits reach Things."""
        return f"site:{self.id}"
