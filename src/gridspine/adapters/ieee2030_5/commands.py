"""Leases on a device's own points, as controls of a DER program of their own.

::

    order, in force ─► DERControl (from now until the lease ends) ─ read by its device ─► sent
                                                                  ─ response 1 … 3 ────► acknowledged
                                                                  ─ response 252 … 254 ► rejected
    released: listed no more; the device falls back by its other controls, and its default

A control never changes under its mRID: it begins in the minute in which its order came here. After a restart orders
come anew, and are controls of other mRIDs. The program's primacy is the best there is: who commanded what was settled
before, by the node.
"""

from gridspine.adapters.ieee2030_5.der_program import ACTIVE, Assignment, DerControl, DerProgram
from gridspine.adapters.ieee2030_5.end_device import AMPERES, EndDevice
from gridspine.adapters.ieee2030_5.mrid import mrid
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.energy.control import NOTHING, Mode, made_of
from gridspine.energy.followed import Followed
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order
from gridspine.things.adapter_orders import OrdersInForce

TITLE = "commands"
_MODES: dict[str, Mode] = {
    "opModGenLimW": "generation_limit_w", "opModLoadLimW": "load_limit_w", "opModExpLimW": "export_limit_w",
    "opModImpLimW": "import_limit_w", "opModTargetW": "target_w",
}  # fmt: skip
_REJECTED = frozenset({252, 253, 254})


class LeasedControls:
    """The orders in force, as assignments."""

    def __init__(self, context: AdapterContext, settings: Settings) -> None:
        self.orders = OrdersInForce(context)
        self._settings, self._clock = settings, context.clock
        self._began: dict[tuple[str, str], tuple[str, int, int]] = {}
        """Of each Thing's point: the command and sequence of its order, and when its control begins [µs since 1970]."""

    def begins(self, order: Order) -> int:
        """Return when the control of an order begins [µs since 1970]: in the minute in which it was first asked for."""
        command, sequence, from_us = self._began.get((order.thing, order.point), ("", 0, 0))
        if (command, sequence) != (order.command, order.sequence):
            now_us = self._clock.now_us()
            # The start is whole seconds ago: a control that begins later than it is read would leave a gap.
            from_us = now_us - now_us % (60 * US)
            self._began[order.thing, order.point] = order.command, order.sequence, from_us
        return from_us

    def ended(self, order: Order) -> None:
        """Forget when the control of an order began."""
        self._began.pop((order.thing, order.point), None)

    def assigned(self, device: EndDevice, followed: Followed) -> Assignment | None:
        """Return the assignment of a device's controls, None when there are none.

        What a device is told by the programs of what it follows is not told to it a second time.
        """
        told = told_by(device.thing, followed)
        orders = [
            one
            for one in (self.orders.in_force(device.thing) if device.thing else ())
            if one.value is not None and not (one.principals and told.issuperset(one.principals))
        ]
        controls = [made for one in orders if (made := control_of(device, one, self.begins(one))) is not None]
        if not controls:
            return None
        since_us = max(one.created_us for one in controls)
        names = ("commands", device.lfdi)
        program = DerProgram(
            names, TITLE, self._settings.command_primacy, len(controls), since_us, NOTHING, tuple(controls),
            defaults=False,
        )  # fmt: skip
        return Assignment(names, TITLE, 1, since_us, (program,))

    async def read(self, device: EndDevice, followed: Followed) -> None:
        """Note that a device has read its controls: what it was to obey was told."""
        told = told_by(device.thing, followed)
        for order in self.orders.in_force(device.thing):
            if order.value is None or (order.principals and told.issuperset(order.principals)):
                await self.orders.progress(order, "acknowledged")
            else:
                await self.orders.progress(order, "sent", settles=False)

    async def answered(self, device: EndDevice, subject: str, status: int) -> None:
        """Note what a device says of the control with mRID ``subject``."""
        for order in self.orders.in_force(device.thing):
            if mrid("DERControl", *_names(order, self.begins(order)), pen=self._settings.pen) == subject:
                rejected = status in _REJECTED
                reason = f"the device answered with status {status}" if rejected else ""
                await self.orders.progress(order, "rejected" if rejected else "acknowledged", reason)

    def known(self, device: EndDevice, point: str) -> bool:
        """Whether leases on ``point`` become controls."""
        return point in device.commands


def told_by(thing: str, followed: Followed) -> frozenset[str]:
    """Return in whose names leases on a Thing are that say what its programs say.

    Where a site has other Things as well, its limits are divided over them, and each one's share is told.
    """
    site = followed.site
    alone = site is not None and thing in {site.guard, *(site.things if len(site.things) == 1 else ())}
    found = {one.programme.principal for one in followed.parts if alone or one.enrolment.kind == "thing"}
    return frozenset(found | {site.principal} if alone and site is not None else found)


def _names(order: Order, from_us: int) -> tuple[str, ...]:
    return order.command, str(order.sequence), str(from_us)


def control_of(device: EndDevice, order: Order, from_us: int) -> DerControl | None:
    """Return the control [W] that an order becomes, None for one that is none of the device's, or a release.

    It begins at ``from_us`` [µs since 1970].
    """
    mode = _MODES.get(device.commands.get(order.point, ""))
    if mode is None or order.value is None:
        return None
    value = order.value * (device.connection.watts_per_ampere if order.point in AMPERES else 1.0)
    value = value if mode == "target_w" else max(0.0, value)
    return DerControl(
        _names(order, from_us), TITLE, made_of({mode: value}), from_us, order.until_us, from_us, ACTIVE, from_us
    )  # fmt: skip
