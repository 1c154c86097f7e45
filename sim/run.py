"""One run: a world by its seed, steps by its dice, faults in between, checks all along."""

import logging
import random
import shutil
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from gridspine.infra.log.scan import scan
from gridspine.kernel.errors import GridspineError
from sim.actors import Clients, Sender
from sim.books import Asked, Books
from sim.cast import BATTERIES, Cast, register
from sim.commander import Commander
from sim.consumer import Grants, consumers
from sim.device import Battery, Field
from sim.disk import shim
from sim.disk.trace import Trace
from sim.machine import Machine
from sim.network import Network
from sim.receipts import Receipts
from sim.result import Result
from sim.steward import Steward
from sim.story import Story, Violation

MANNERS = ("prompt", "prompt", "late", "silent", "refusing")
_QUIET_S = 12.0
_FULL_BYTES = 700 << 10


class World:
    """Everything of one run."""

    def __init__(self, seed: int, base: Path, trace: Trace, cast: Cast, *, keep: int) -> None:
        self.story = Story(keep)
        self.dice = random.Random(f"{seed} steps")
        self.network = Network(random.Random(f"{seed} network"))
        self.books = Books(self.story)
        self.field = Field(random.Random(f"{seed} devices"), self.network, self.story, self._device_answered)
        self.field.batteries = {thing: Battery(thing, manner=self.dice.choice(MANNERS)) for thing in BATTERIES}
        self.machine = Machine(base, trace, seed, self.field, self.books.appended)
        self.machine.now_s = cast.now_s
        self.machine.load(cast.template)
        self.clients = Clients(self.machine, self.network, self.story, cast)
        self.sender = Sender(self.clients, self.books, random.Random(f"{seed} readings"))
        self.grants = Grants()
        self.consumers = consumers(self.clients, self.books, self.grants, random.Random(f"{seed} consumers"))
        self.commander = Commander(self.clients, random.Random(f"{seed} commands"))
        dice = random.Random(f"{seed} steward")
        self.steward = Steward(self.clients, self.commander, dice, self.books.retired)
        self.commander.checks.append(self.steward.check_order)
        self.receipts = Receipts(self.story)

    # -- the node's life ----------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the node, and look at all it must still know."""
        machine, story = self.machine, self.story
        if machine.loop is not None:
            return
        try:
            machine.boot()
        except (GridspineError, sqlite3.Error, SQLAlchemyError, OSError) as error:
            story.check("a node starts on what it left", shim.room_left() >= 0, f"{type(error).__name__}: {error}")
            story.tell(machine.now_s, "does not start while the disk is full")
            return
        node = machine.node
        assert node is not None
        story.tell(machine.now_s, f"node starts ({machine.starts})")
        self.books.point_id = node.points.point_id
        self.books.outcomes.clear()
        self.books.survey(node.log)
        self.grants.survey(node, story)
        self.commander.look()
        self.steward.look()
        if shim.room_left() < 0:
            self.receipts.check(node)
        self.check_twins()
        self.clients.sign_in()

    def gone(self) -> None:
        """The node is gone: streams with it."""
        for consumer in self.consumers:
            consumer.disconnected()

    def check_twins(self) -> None:
        """Compare the node's twins with what the log alone makes of them."""
        node = self.machine.node
        assert node is not None
        for name, (value, at_us) in sorted(self.books.twins.items()):
            twin = node.twins.get(node.points.number(name))
            same = (twin.value, twin.observed_us) == (value, at_us)
            self.story.check("twins are as the log", same, f"{name}: {twin}, the log says {value} at {at_us}")

    def check_totals(self) -> None:
        """Check that the node's own counts add up."""
        assert self.machine.node is not None
        t = self.machine.node.intake.books.totals
        whole = t.received == t.accepted + t.suppressed + t.duplicate + t.refused
        self.story.check("counts add up", whole, f"{t}")
        answered = sum(one.received for one in self.books.outcomes)
        self.story.check("counts add up", answered <= t.received, f"{answered} answered, {t}")

    def _device_answered(self, outcome: Any, rows: Any) -> None:
        try:
            self.books.answered(Asked(rows, False, 2), outcome)
        except Violation as error:
            self.machine.fail(error)

    def begin(self) -> None:
        """Start, and let most consumers have a grant and follow."""
        self.boot()
        for act in ("ask", "decide", "follow"):
            for consumer in self.consumers:
                if self.dice.random() < 0.9:
                    self.story.tell(self.machine.time(), getattr(consumer, act)())
            self.machine.run_for(0.2)

    # -- steps --------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one thing, then let some time pass."""
        dice, machine = self.dice, self.machine
        name = dice.choices(list(_STEPS), [weight for weight, _ in _STEPS.values()])[0]
        if machine.loop is None and dice.random() < 0.4:
            name = "start"
        self.story.steps[name] += 1
        said = _STEPS[name][1](self)
        if said:
            self.story.tell(machine.time(), said)
        machine.run_for(dice.choice((0.0005, 0.005, 0.05, 0.3, 1.0)) * dice.random())
        if machine.node is not None:
            self.check_totals()

    def power_cut(self) -> str:
        """Cut the power; what was not synced may be gone."""
        if self.machine.loop is None:
            return ""
        unsynced = self.machine.cut_power()
        self.gone()
        self.story.fault(self.machine.now_s, "power cut", f"with {unsynced} changes unsynced")
        return ""

    def kill(self) -> str:
        """Kill the process."""
        if self.machine.loop is None:
            return ""
        self.machine.kill()
        self.gone()
        self.story.fault(self.machine.now_s, "kill")
        return ""

    def restart(self) -> str:
        """Stop the node as its operator would, and start it again."""
        if self.machine.loop is None:
            return ""
        self.machine.stop()
        self.gone()
        self.story.fault(self.machine.now_s, "restart")
        self.machine.raise_failure()
        self.boot()
        return ""

    def step_clock(self) -> str:
        """Put the wall clock wrong."""
        seconds = self.dice.choice((0.5, 5, 90, 7200)) * self.dice.choice((1, -1))
        self.machine.step_wall(seconds)
        self.story.fault(self.machine.time(), "clock step", f"{seconds:+g} s")
        return ""

    def turn_network(self) -> str:
        """Make the network bad, or good again."""
        self.network.bad = not self.network.bad
        if self.network.bad:
            self.story.fault(self.machine.time(), "bad network")
            return ""
        return "network is good"

    def turn_disk(self) -> str:
        """Make the disk slow or full, or well again."""
        if self.machine.slow or shim.room_left() >= 0:
            self.machine.slow = False
            shim.set_room(-1)
            return "disk is well"
        if self.dice.random() < 0.5:
            self.machine.slow = True
            self.story.fault(self.machine.time(), "slow disk")
        else:
            shim.set_room(self.dice.choice((0, 30_000, _FULL_BYTES)))
            self.story.fault(self.machine.time(), "disk full", f"{shim.room_left()} bytes left")
        return ""

    def consumer(self, act: str) -> str:
        """Let one consumer act."""
        said: str = getattr(self.dice.choice(self.consumers), act)()
        return said

    def release(self) -> str:
        """Release the sender, should it be in quarantine."""
        cast = self.clients.cast
        self.clients.ask(cast.operator, "POST", f"/quarantine/release?principal={cast.operator}")
        return "releases the sender"

    def look_at_receipts(self) -> str:
        """Collect receipts of what the ledger has."""
        node = self.machine.node
        if node is None or shim.room_left() >= 0:
            return ""  # a head that cannot be kept is not signed
        first, following = node.log.bounds("ledger")[0]
        records = scan(node.log, "ledger", 0, max(first, following - 3), following)
        self.receipts.collect(node, [msgspec.json.decode(record.body)["id"] for record in records])
        return ""

    # -- the end ------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Heal everything; what must be so in the end is so."""
        machine, story = self.machine, self.story
        self.network.bad, machine.slow = False, False
        shim.set_room(-1)
        if machine.loop is None:
            self.boot()
        machine.run_for(_QUIET_S)
        node = machine.node
        assert node is not None
        self.books.survey(node.log)
        self.check_twins()
        self.check_totals()
        self.commander.look()
        self.look_at_receipts()
        self.receipts.check(node)
        self._check_devices()
        story.tell(machine.time(), f"readings {len(self.books.logged)}, ledger {node.ledger.size}")
        if self.dice.random() < 0.5:
            machine.stop()
        else:
            machine.kill()
        machine.raise_failure()
        machine.run_for(max(0.0, self.field.longest_s - machine.now_s) + 0.001)
        for battery in self.field.batteries.values():
            held = battery.holds(machine.now_s)
            story.check("a lease always ends", held == battery.fallback, f"{battery.thing} still holds {held}")

    def _check_devices(self) -> None:
        """While all is well a device does what the node orders."""
        node, now_s = self.machine.node, self.machine.time()
        assert node is not None and self.machine.clock is not None
        if self.story.faults["clock step"]:
            return  # devices go by their timers: what is in force by a wall clock put wrong is another thing
        now_us = self.machine.clock.now_us()
        for battery in self.field.batteries.values():
            if battery.manner == "refusing" or node.forms.forms.of(battery.thing) != "adapter":
                continue
            if self.commander.steps_at(battery.thing, now_us):
                continue  # it may be on its way
            orders = [order for order in node.commands.commander.in_force(now_us) if order.thing == battery.thing]
            wanted = orders[0].value if orders and orders[0].value is not None else battery.fallback
            held = battery.holds(now_s)
            # A device whose timer has ended is safe, though a wall clock put back says that its lease goes on.
            ended = bool(orders) and battery.sequence == orders[0].sequence and held == battery.fallback
            told = f"{battery.thing} holds {held}, #{battery.sequence}; in force {orders}"
            self.story.check("devices do what is in force", held == wanted or ended, told)


_STEPS: dict[str, tuple[float, Any]] = {
    "send": (30, lambda w: w.sender.send()),
    "send again": (5, lambda w: w.sender.again()),
    "ask for a grant": (5, lambda w: w.consumer("ask")),
    "decide": (7, lambda w: w.consumer("decide")),
    "follow": (7, lambda w: w.consumer("follow")),
    "waver": (5, lambda w: w.consumer("waver")),
    "command": (8, lambda w: w.commander.ask()),
    "cancel": (3, lambda w: w.commander.cancel()),
    "form": (1.5, lambda w: w.steward.change_form()),
    "retire": (0.5, lambda w: w.steward.retire()),
    "agree": (3, lambda w: w.steward.approve()),
    "receipts": (3, World.look_at_receipts),
    "release": (1, World.release),
    "network": (3, World.turn_network),
    "disk": (3, World.turn_disk),
    "clock": (2, World.step_clock),
    "start": (8, lambda w: w.boot()),
    "power cut": (2, World.power_cut),
    "kill": (1.5, World.kill),
    "restart": (1, World.restart),
}
"""Steps by name: how often, and what."""


class Theatre:
    """Where runs of this process take place, one after another: a folder, its notes, and the cast."""

    def __init__(self, root: Path, trace: Path) -> None:
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
        logging.disable(logging.CRITICAL)
        self._root, self._trace = root, Trace(trace)
        self._folder = root.parent / "cast"  # beside the root: what is written there is not noted
        template = self._folder / "data"
        story = Story()
        network = Network(random.Random("cast"))
        field_ = Field(random.Random("cast"), network, story, lambda *_: None)
        machine = Machine(root / "cast", self._trace, -1, field_, lambda *_: None)
        self.cast = register(machine, template)
        machine.close()

    def close(self) -> None:
        """Take away what the cast is registered in."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, seed: int, steps: int, *, keep: int = 100_000) -> Result:
        """Run ``seed``."""
        world = World(seed, self._root / f"run-{seed}", self._trace, self.cast, keep=keep)
        story, broken = world.story, ("", "")
        try:
            world.begin()
            for _ in range(steps):
                world.step()
            world.finish()
        except Violation as violation:
            broken = (violation.invariant, violation.seen)
            story.tell(world.machine.time(), f"BROKEN: {violation}")
        except Exception as error:
            broken = ("nothing goes wrong unforeseen", f"{type(error).__name__}: {error}")
            story.lines += ["BROKEN:", *traceback.format_exc().splitlines()]
        finally:
            world.machine.close()
        return Result(
            seed, story.digest, *broken, story.lines, story.steps, story.faults, story.checked,
            world.machine.now_s - self.cast.now_s, len(world.books.logged),
            sum(consumer.readings for consumer in world.consumers),
        )  # fmt: skip
