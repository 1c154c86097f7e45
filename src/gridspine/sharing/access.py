"""Access: products published, grants asked for and decided. Every change is a document, an event and a receipt.

Policy is asked by the caller, before; what is here keeps the rules that hold whoever asks.
"""

from collections.abc import Callable, Sequence

import msgspec

from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.readings import Channel
from gridspine.sharing.gate import Gate
from gridspine.sharing.grant import Grant, Verb, decide
from gridspine.sharing.parcel import Mask, make_mask
from gridspine.sharing.product import Product

MAX_REQUESTS = 1_000
"""Requests of one organisation that may wait for their owners' answer."""
MAX_PRODUCTS, MAX_PUBLISHED_POINTS = 1_000, 1_000_000
"""Products of one organisation, and points in all of them."""
MAX_MASK_BYTES = 256 << 20
"""Room for masks that are kept ready; the longest unused go first, and are made again when they are needed."""
PointOf = Callable[[str], tuple[int, str, str]]
"""Point id → (number, unit, organisation); number -1 when there is none."""
FormerOf = Callable[[str, str], Sequence[tuple[int, str]]]
"""Point id, organisation → numbers the point had before while it was that organisation's, each with its unit."""


class Access:
    """The catalogue of products and the book of grants."""

    def __init__(
        self, registry: Registry, gate: Gate, clock: Clock, point_of: PointOf, former_of: FormerOf = lambda *_: ()
    ) -> None:
        self._registry = registry
        self._gate = gate
        self._clock = clock
        self._point_of = point_of
        self._former_of = former_of
        self._products: dict[str, Product] = {}
        self._unsure: set[str] = set()
        self._masks: dict[tuple[str, int], Mask] = {}

    async def load(self) -> None:
        """Read products and grants when the node starts."""
        products, grants = await self._registry.run(lambda tx: (tx.list(Product), tx.list(Grant)), write=False)
        self._products = {product.id: product for product in products}
        for grant in grants:
            self._gate.tell(grant)

    def product(self, id: str) -> Product:
        """Return a product; raise `NotFound`."""
        product = self._products.get(id)
        if product is None:
            raise NotFound("there is no such product")
        return product

    def products(self) -> Sequence[Product]:
        """Return all products that are published, by title."""
        published = (product for product in self._products.values() if product.state == "published")
        return sorted(published, key=lambda product: (product.title, product.id))

    def mask(self, product: Product) -> Mask:
        """Return the compiled mask of a product's present version."""
        key = (product.id, product.version)
        mask = self._masks.pop(key, None)
        if mask is None:
            mask = self._compiled(product)
        self._masks[key] = mask
        size = sum(kept.local.nbytes for kept in self._masks.values())
        while size > MAX_MASK_BYTES and len(self._masks) > 1:
            size -= self._masks.pop(next(iter(self._masks))).local.nbytes
        return mask

    def forget_masks(self) -> None:
        """Compile all masks anew when they are asked for: points got other numbers."""
        self._masks.clear()

    async def publish(self, product: Product, *, actor: str) -> Product:
        """Publish a new product (its ``id`` is given here); raise `Invalid` when a point is not the owner's."""
        product = msgspec.structs.replace(product, id=new_urn(self._clock), version=1, state="published")
        product.check()
        self._check_room(product)
        self._check_points(product)

        def work(tx: Transaction) -> None:
            tx.put(product, id=product.id, owner=product.owner)
            tx.emit(LEDGER, product.owner, self._event("product.published", product.id, actor, _summary(product)))

        try:
            await self._registry.run(work)
        except BaseException:
            self._unsure.add(product.id)  # it may be committed, though its event is not in the log yet
            raise
        self._products[product.id] = product
        return product

    async def settle(self) -> None:
        """Take up the products whose publication ended in an error and that the registry has all the same.

        Call it when what the registry emitted is in the log.
        """
        for id_ in list(self._unsure):
            kept = await self._registry.run(lambda tx, id_=id_: tx.get(Product, id_), write=False)  # type: ignore[misc]
            if kept is not None:
                self._products[id_] = kept
            self._unsure.discard(id_)

    async def ask(
        self, product: Product, *, consumer: str, purpose: str, from_us: int, until_us: int, actor: str
    ) -> Grant:
        """Ask for access: a grant in state *requested*."""
        if product.state != "published":
            raise Conflict("the product is retired")
        now_us = self._clock.now_us()
        grant = Grant(
            id=new_urn(self._clock), product=product.id, owner=product.owner, consumer=consumer, purpose=purpose,
            from_us=from_us, until_us=until_us, asked_by=actor, asked_us=now_us,
        )  # fmt: skip
        grant.check(product.contract.purposes)
        if until_us <= now_us:
            raise Invalid("until: lies in the past")
        waiting = sum(g.consumer == consumer and g.state == "requested" for g in self._gate.grants())
        if waiting >= MAX_REQUESTS:
            raise Overloaded(f"{waiting} requests of your organisation wait for an answer", retry_after_s=60)
        return await self._keep(grant, "grant.requested", actor, expected=0)

    async def decide(self, id: str, verb: Verb, *, actor: str, reason: str = "") -> Grant:
        """Approve, refuse, revoke, suspend or resume; running streams are cut before this returns."""
        known = self._gate.grant(id)
        if known is None:
            raise NotFound("there is no such grant")
        changed = decide(known, verb, actor=actor, now_us=self._clock.now_us(), reason=reason)
        return await self._keep(changed, f"grant.{verb}", actor, expected=known.epoch)

    def standing(self, product: str, consumer: str, purpose: str = "") -> Grant | None:
        """Return the grant of ``consumer`` to ``product`` that holds now; else its newest one, for the reason why.

        One for ``purpose``, where that is given and there is one.
        """
        active = self._gate.active(product, consumer, purpose) or self._gate.active(product, consumer)
        if active is not None:
            return active
        mine = [g for g in self._gate.grants() if g.product == product and g.consumer == consumer]
        return max(mine, key=lambda grant: grant.id, default=None)

    def standing_of(self, consumer: str) -> int:
        """Return how many grants ``consumer`` has, or asks for, that are not over."""
        now_us = self._clock.now_us()
        waits = {"requested", "active", "suspended"}
        return sum(g.consumer == consumer and g.state in waits and g.until_us > now_us for g in self._gate.grants())

    def grants_of(self, organisation: str) -> list[Grant]:
        """Return the grants an organisation gave or got, newest first."""
        mine = [grant for grant in self._gate.grants() if organisation in {grant.owner, grant.consumer}]
        return sorted(mine, key=lambda grant: grant.id, reverse=True)

    async def _keep(self, grant: Grant, type_: str, actor: str, *, expected: int) -> Grant:
        def work(tx: Transaction) -> None:
            tx.put(grant, id=grant.id, owner=grant.owner, expected=expected)
            event = self._event(type_, grant.id, actor, msgspec.to_builtins(grant))
            tx.emit(LEDGER, grant.owner, event)

        try:
            await self._registry.run(work)
        except Exception:
            # It may be committed although its event did not reach the log yet: what the registry has counts, at once.
            kept = await self._registry.run(lambda tx: tx.get(Grant, grant.id), write=False)
            if kept is not None:
                self._gate.tell(kept)
            raise
        self._gate.tell(grant)
        return grant

    def _compiled(self, product: Product) -> Mask:
        """Return a mask of the points that are the owner's, and of the numbers they had while they were."""
        number, units, former = {}, [], {}
        for name in product.points:
            at, unit, organisation = self._point_of(name)
            past = self._former_of(name, product.owner)
            if organisation != product.owner:
                at, unit = -1, past[-1][1] if past else unit
            number[name] = at
            units.append(unit)
            former[name] = [before for before, its_unit in past if its_unit == unit]
        channel = Channel[product.contract.channel.upper()]
        return make_mask(
            product.id, product.version, product.points, units, number.__getitem__, channel, former.__getitem__
        )

    def _check_room(self, product: Product) -> None:
        others = [one for one in self._products.values() if one.owner == product.owner]
        if len(others) >= MAX_PRODUCTS:
            raise Conflict(f"your organisation has {MAX_PRODUCTS} products: put more points into fewer")
        if sum(len(one.points) for one in others) + len(product.points) > MAX_PUBLISHED_POINTS:
            raise Conflict(f"your organisation's products have {MAX_PUBLISHED_POINTS} points at most")

    def _check_points(self, product: Product) -> None:
        for name in product.points:
            number, _, organisation = self._point_of(name)
            if number < 0 or organisation != product.owner:
                raise Invalid(f"points: {name[:200]!r} is not a point of your organisation's Things")

    def _event(self, type_: str, subject: str, actor: str, data: dict[str, object]) -> Event:
        return Event(new_id(self._clock), type_, self._clock.now_us(), subject, actor, data)


def _summary(product: Product) -> dict[str, object]:
    """A product may have 100,000 points: the receipt carries their number, not their names."""
    whole: dict[str, object] = msgspec.to_builtins(product)
    return {**{k: v for k, v in whole.items() if k != "points"}, "pointCount": len(product.points)}
