"""What others hear of transactions, and whom they know: sessions and tokens in the node's own words.

::

    transaction kept ─► session ─► whoever listens (roaming)          unknown token ─► whoever may know it ─► verdict

Where a node has nobody to tell, as an edge has not, nothing is told and nobody is asked.
"""

from gridspine.adapters.ocpp.token import Verdict
from gridspine.adapters.ocpp.transaction import BEHIND, FELL, Transaction
from gridspine.energy.charging import ChargingPort, ChargingSession, charging_of
from gridspine.kernel.errors import Unavailable
from gridspine.things.adapter import AdapterContext


class Shared:
    """The port of an adapter's context, or none."""

    def __init__(self, context: AdapterContext) -> None:
        self._port: ChargingPort | None
        try:
            self._port = charging_of(context)
        except Unavailable:
            self._port = None

    async def tell(
        self, thing: str, transaction: Transaction, *, own: bool, again: bool = False, beside: tuple[str, ...] = ()
    ) -> None:
        """Tell of a transaction at ``thing``, by a token of our ``own`` list or not; durable when this returns.

        ``again``: it was told of before the node last stopped; ``beside`` are its charge point's other Things.
        """
        if self._port is not None:
            unknown = {FELL, BEHIND} & {*transaction.doubts}  # what it took, or how long, nobody knows: it is no bill
            stop_wh = None if unknown else transaction.meter_stop_wh
            await self._port.report(
                ChargingSession(
                    thing, transaction.id, transaction.token, transaction.started_us, transaction.stopped_us,
                    transaction.meter_start_wh, stop_wh, transaction.reason, own, again, beside,
                )
            )  # fmt: skip

    async def ask(
        self, thing: str, token: str, type_: str, beside: tuple[str, ...] = (), *, anywhere: bool = False
    ) -> Verdict | None:
        """Return what others say of a token at ``thing``, None where nobody knows it; see `ChargingPort.authorise`."""
        if self._port is None:
            return None
        said = await self._port.authorise(thing, token, type_, beside, anywhere=anywhere)
        return None if said is None else Verdict(said.status, group=said.group)
