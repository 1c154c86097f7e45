"""Behaviours published, let out and taken back: packages and deployments in the registry, each change an event.

A package is kept as it was signed: its text, the signature over the text's hash, and the key that proved it.

Control rules (`gridspine.apps.node.rules`) are signed and rolled back in another way, and share no code with this. A
package bears its publisher's own signature, for people to hold somebody to, and a version never changes; a rule bears
the node's, for an edge that trusts the node alone, over the version that the node has just given it. So going back is
to let out an older version here, by stages and to many Things; there it is to publish the text before as a new version.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gridspine.infra.identity import jws
from gridspine.infra.identity.directory import Directory as IdentityDirectory
from gridspine.infra.identity.principal import PublicKey
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.things import rollout
from gridspine.things.approval import BEHAVIOUR
from gridspine.things.behaviour import (
    SIGNATURE_TYPE,
    Behaviour,
    Package,
    SignedDigest,
    decode_behaviour,
    digest_of,
)
from gridspine.things.point import PointTable
from gridspine.things.rollout import Deployment, Plan

MAX_PACKAGES, MAX_DEPLOYMENTS = 500, 100
"""Packages and deployments of one organisation."""
MAX_OF_MODEL = 8
"""Behaviours that one Thing can have."""


class Behaviours:
    """The packages and deployments of all organisations. ``changed`` is called after each change."""

    def __init__(
        self, registry: Registry, identity: IdentityDirectory, points: PointTable, runner: Runner, clock: Clock
    ) -> None:
        self._registry, self._identity, self._points = registry, identity, points
        self._runner, self._clock = runner, clock
        self._lock = asyncio.Lock()
        self.packages: dict[str, tuple[Package, Behaviour]] = {}
        """By `program`."""
        self.deployments: dict[str, Deployment] = {}
        self.changed: Callable[[Deployment], None] = lambda _: None

    def load(self) -> None:
        """Read what there is when the node starts; blocks."""
        packages, deployments = self._registry.read(lambda tx: (tx.list(Package), tx.list(Deployment)))
        for package in packages:
            behaviour = decode_behaviour(package.text)
            self.packages[program(package.organisation, behaviour.name, behaviour.version)] = package, behaviour
        self.deployments = {one.id: one for one in deployments}

    def behaviour(self, organisation: str, name: str, version: str) -> Behaviour:
        """Return a published behaviour; raise `NotFound`."""
        return self.package(organisation, name, version)[1]

    def package(self, organisation: str, name: str, version: str) -> tuple[Package, Behaviour]:
        """Return a package and what it says; raise `NotFound`."""
        found = self.packages.get(program(organisation, name, version))
        if found is None:
            raise NotFound("there is no such version of such a behaviour")
        return found

    def watched(self, deployment: Deployment) -> Behaviour:
        """Return the version of a deployment that is not stopped whose health counts: the canary, or what all have."""
        version = deployment.canary or deployment.version
        return self.behaviour(deployment.organisation, deployment.name, version)

    def of(self, organisation: str) -> list[tuple[Package, Behaviour]]:
        """Return an organisation's packages, by name and version."""
        own = [pair for pair in self.packages.values() if pair[0].organisation == organisation]
        return sorted(own, key=lambda pair: (pair[1].name, pair[1].order))

    def deployment(self, organisation: str, name: str) -> Deployment:
        """Return how a behaviour is deployed; raise `NotFound` when it never was."""
        found = self.deployments.get(f"{organisation}/{name}")
        if found is None:
            raise NotFound("no such behaviour was ever deployed")
        return found

    def behind(self, principal: str) -> frozenset[str]:
        """Return who published and let out the behaviour that asks as ``principal``; nobody for any other principal."""
        if not principal.startswith(BEHAVIOUR):
            return frozenset()
        id_, _, version = principal.removeprefix(BEHAVIOUR).rpartition("@")
        package, deployment = self.packages.get(f"{id_}@{version}"), self.deployments.get(id_)
        changes = deployment.changes if deployment else ()
        return frozenset([*([package[0].publisher] if package else []), *(one.by for one in changes)])

    async def publish(self, organisation: str, publisher: str, text: str, signature: str) -> Package:
        """Keep a package; raise `Invalid` where text or signature is wrong, `Conflict` for a version that is known."""
        behaviour = decode_behaviour(text)
        key = self._signer(publisher, text, signature)
        model = self._points.model(behaviour.model)
        if model is None:
            raise Invalid(f"model: {behaviour.model[:200]!r} is not known")
        behaviour.check_model(model)
        name = program(organisation, behaviour.name, behaviour.version)
        async with self._lock:
            self._check_new(organisation, behaviour, name)
            behaviour.check_functions(await self._runner.load(name, behaviour.text))
            await self._runner.forget(name)
            package = Package(
                organisation, text, digest_of(text), signature, publisher, key.kid, key.jwk, self._clock.now_us()
            )
            data = {"name": behaviour.name, "version": behaviour.version, "digest": package.digest, "kid": key.kid}

            def work(tx: Transaction) -> None:
                tx.put(package, id=name, owner=organisation, expected=0)
                tx.emit(LEDGER, organisation, self._event("behaviour.published", name, publisher, data))

            await self._registry.run(work)
            self.packages[name] = package, behaviour
            return package

    async def deploy(
        self, organisation: str, name: str, version: str, plan: Plan, *, actor: str, reason: str = ""
    ) -> Deployment:
        """Let a version out by ``plan``; raise `Conflict` where it cannot be."""
        behaviour = self.behaviour(organisation, name, version)
        async with self._lock:
            now = self.deployments.get(f"{organisation}/{name}") or Deployment(organisation, name, behaviour.model)
            if now.state != "stopped" and now.model != behaviour.model:
                raise Conflict(f"{name} is deployed for {now.model}: stop it first")
            beside = [one for one in self.deployments.values() if one.organisation == organisation and one.id != now.id]
            active = [one for one in beside if one.state != "stopped"]
            if len(active) >= MAX_DEPLOYMENTS or sum(one.model == behaviour.model for one in active) >= MAX_OF_MODEL:
                raise Overloaded(f"a model has {MAX_OF_MODEL} behaviours at most, an organisation {MAX_DEPLOYMENTS}")
            now = msgspec.structs.replace(now, model=behaviour.model)
            return await self._keep(rollout.deploy(now, version, plan, self._clock.now_us(), actor, reason), actor)

    async def promote(self, now: Deployment, *, actor: str, reason: str) -> Deployment:
        """Give the canary to all."""
        async with self._lock:
            current = self.deployments[now.id]
            return await self._keep(rollout.promote(current, self._clock.now_us(), actor, reason), actor)

    async def roll_back(self, now: Deployment, *, actor: str, reason: str) -> Deployment:
        """Go back to the version before."""
        async with self._lock:
            current = self.deployments[now.id]
            return await self._keep(rollout.roll_back(current, self._clock.now_us(), actor, reason), actor)

    async def stop(self, now: Deployment, *, actor: str, reason: str) -> Deployment:
        """Let no version run."""
        async with self._lock:
            return await self._keep(rollout.stop(self.deployments[now.id], self._clock.now_us(), actor, reason), actor)

    def _check_new(self, organisation: str, behaviour: Behaviour, name: str) -> None:
        if name in self.packages:
            raise Conflict(f"version {behaviour.version} of {behaviour.name} is published: give a new one a new number")
        if len(self.of(organisation)) >= MAX_PACKAGES:
            raise Overloaded(f"an organisation has {MAX_PACKAGES} packages at most", retry_after_s=86_400)

    def _signer(self, publisher: str, text: str, signature: str) -> PublicKey:
        """Return the publisher's key that proves the signature; raise `Invalid`."""
        envelope = jws.Envelope(signature)
        envelope.check_type({SIGNATURE_TYPE})
        keys: Sequence[PublicKey] = self._identity.keys_of(publisher)
        for key in keys:
            if envelope.header.get("kid") not in {None, key.kid} or not key.valid_at(self._clock.now_us()):
                continue
            try:
                payload = envelope.verified(jws.import_key(key.jwk)[1])
                signed = msgspec.json.decode(payload, type=SignedDigest)
            except (Invalid, msgspec.MsgspecError):
                continue
            if signed.digest != digest_of(text):
                raise Invalid("signature: it is over another text than this package's")
            return key
        raise Invalid("signature: none of your registered keys proves it; sign with 'gridspine behaviour publish'")

    async def _keep(self, deployment: Deployment, actor: str) -> Deployment:
        change = deployment.changes[-1]
        data: dict[str, Any] = {"version": change.version, "state": deployment.state, "reason": change.reason}

        def work(tx: Transaction) -> None:
            tx.put(deployment, id=deployment.id, owner=deployment.organisation)
            event = self._event(f"behaviour.{change.what}", deployment.id, actor, data)
            tx.emit(LEDGER, deployment.organisation, event)

        try:
            await self._registry.run(work)
        except Exception:  # it may be committed although its event did not reach the log: what the registry has counts
            kept = await self._registry.run(lambda tx: tx.get(Deployment, deployment.id), write=False)
            if kept is not None and kept != self.deployments.get(kept.id):
                self._follow(kept)
            raise
        self._follow(deployment)
        return deployment

    def _follow(self, deployment: Deployment) -> None:
        self.deployments[deployment.id] = deployment
        self.changed(deployment)

    def _event(self, type_: str, subject: str, actor: str, data: dict[str, Any]) -> Event:
        return Event(new_id(self._clock), type_, self._clock.now_us(), subject, actor, data)


def program(organisation: str, name: str, version: str) -> str:
    """Return the name under which a version is known."""
    return f"{organisation}/{name}@{version}"
