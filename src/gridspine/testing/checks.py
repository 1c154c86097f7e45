"""The rules that a machine sees: each a function over a `Bench` that raises `Failed` with what it saw.

Order checks, and those of breaks and restarts, stand in `gridspine.testing.checks_life`.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from gridspine.kernel.errors import GridspineError, Overloaded
from gridspine.testing import checks_life as life
from gridspine.testing.bench import Bench, Run
from gridspine.testing.rig import Frame, Sample
from gridspine.testing.verdict import Failed
from gridspine.things.redaction import forms

_POWERS = frozenset({"W", "kW", "MW", "VA", "kVA", "var", "kvar"})
_QUIET_S = 30.0


async def entry_point(bench: Bench) -> None:
    """It has its own name, and each call makes another."""
    one, other = bench.make(), bench.make()
    if one.name != bench.name:
        raise Failed(f"its entry point is {bench.name!r} and its name {one.name!r}")
    if one is other:
        raise Failed("its entry point gives the same adapter twice")


async def permissions_declared(bench: Bench) -> None:
    """Listeners, secrets and the store are used only where quality.toml says so."""
    said = bench.quality.permissions
    async with bench.running() as run:
        await _everything(run)
        listened = set(run.node.address) - set(said.listen)
        asked = set() if "*" in said.secrets else run.secrets.asked - set(said.secrets)
        stored = run.store.written and not said.store
    if listened:
        raise Failed(f"it listens on {', '.join(sorted(listened))}, and quality.toml does not say so")
    if asked:
        raise Failed(f"it takes the secret {', '.join(sorted(asked))}, and quality.toml does not say so")
    if stored:
        raise Failed("it keeps something in its store, and quality.toml does not say so")


async def round_trips(bench: Bench) -> None:
    """Recorded frames mean what is written beside them, both ways."""
    rig = bench.make_rig()
    frames = rig.frames()
    if not frames:
        raise Failed("there is no recorded frame")
    for frame in frames:
        means = rig.decode(frame.data)
        if means != frame.means:
            raise Failed(f"frame {frame.name!r} is read as {means!r}, and means {frame.means!r}")
        if not frame.one_way and (data := rig.encode(frame.means)) != frame.data:
            raise Failed(f"frame {frame.name!r} is written as {data.hex(' ')}, and is {frame.data.hex(' ')}")


async def malformed_input_harmless(bench: Bench) -> None:
    """Damaged frames are read or refused, never anything else."""
    rig = bench.make_rig()
    for frame in rig.frames():
        for damaged in _damaged(frame):
            try:
                rig.decode(damaged)
            except GridspineError:
                pass
            except Exception as error:
                raise Failed(
                    f"{damaged.hex(' ')[:200]} ({frame.name!r}, damaged) raises {type(error).__name__}: {error}"
                ) from error


async def units_declared(bench: Bench) -> None:
    """Every sample arrives with its value and its unit, and nothing without a unit of its own or the point's."""
    async with bench.running() as run:
        for sample in run.rig.samples:
            await run.arrives(sample, f"{sample.name} of {sample.value:g} {sample.unit}")
            units = {one.unit for one in run.node.stored if one.point == sample.point}
            if units != {sample.unit}:
                raise Failed(f"{sample.name} is measured in {sample.unit!r}, and arrives in {sorted(units)}")


async def signs_declared(bench: Bench) -> None:
    """Every power has its sign in quality.toml, and was seen to arrive with either."""
    samples = bench.make_rig().samples
    signs = bench.quality.signs
    unsaid = {one.name for one in samples if one.unit in _POWERS} - signs.keys()
    if unsaid:
        raise Failed(f"[signs] says nothing of {', '.join(sorted(unsaid))}")
    for name in signs:
        if name not in {one.name for one in samples}:
            continue
        if {one.value > 0 for one in samples if one.name == name and one.value} != {True, False}:
            raise Failed(f"the rig has no sample of {name} in both directions")
    async with bench.running() as run:
        for sample in (one for one in samples if one.name in signs):
            since = len(run.node.stored)
            await run.rig.measure(sample)
            await run.pace.until(lambda: _any_of(run, sample, since), f"{sample.name} of {sample.value:g}", 600.0)  # noqa: B023
            last = [one.value for one in run.node.stored if one.point == sample.point][-1]
            if last == -sample.value:
                raise Failed(f"{sample.name} of {sample.value:g} arrives as {last:g}: its sign is turned")


async def ack_after_durable(bench: Bench) -> None:
    """While the log has not taken a reading, its device is told nothing."""
    async with bench.running() as run:
        if not run.rig.pushes:
            raise Failed("the rig's device is polled and waits for no word: say exempt, with that reason")
        run.node.gate.clear()
        await run.rig.measure(run.rig.samples[0])
        await run.pace.until(lambda: run.node.waiting, "the reading is handed in", 60.0)
        await run.pace.passes(_QUIET_S)
        if run.rig.acknowledged:
            raise Failed("the device was acknowledged before the log had its reading")
        run.node.gate.set()
        await run.pace.until(lambda: run.rig.acknowledged, "the acknowledgement, once the log has the reading", 60.0)


async def resend_after_failure(bench: Bench) -> None:
    """What could not be kept comes again."""
    async with bench.running() as run:
        sample = run.rig.samples[0]
        run.node.refusal = Overloaded("the queue is full", retry_after_s=1)
        await run.rig.measure(sample)
        await run.pace.passes(_QUIET_S)
        if run.rig.acknowledged:
            raise Failed("the device was acknowledged for what the log did not keep")
        run.node.refusal = None
        await run.pace.until(lambda: run.has(sample), "what the log did not take, once it does", run.bounds_s)


async def bounded_queues(bench: Bench) -> None:
    """While the log takes nothing, no more than declared waits; and orders do not pile up."""
    most = bench.quality.bounds.readings_waiting
    async with bench.running() as run:
        await run.arrives(run.rig.samples[0], "a reading")
        run.node.gate.clear()
        for _ in range(50):
            for sample in run.rig.samples:
                await run.rig.measure(sample)
            await run.pace.passes(4.0)
        waiting = run.node.most_readings_waiting
        run.node.gate.set()
    if waiting > most:
        raise Failed(f"{waiting} readings waited for the log, and quality.toml says {most}")
    if bench.make_rig().commands:
        await life.orders_replace_each_other(bench)


async def secrets_not_logged(bench: Bench) -> None:
    """Nothing that proves anybody is seen in what is logged, traced or reported."""
    with bench.listening() as said:
        async with bench.running() as run:
            hidden = [*run.rig.secrets.values(), *run.rig.passwords]
            await _everything(run)
            await run.rig.cut()
            await run.pace.passes(10.0)
            said += [f"{line.peer} {line.text}" for line in run.node.traced.lines()]
            said += [reason for _, _, reason in run.node.progressed]
            said += [f"{problem.detail} {problem.name}" for _, problem in run.node.problems]
    for secret in hidden:
        for form in forms(secret) | {quote(secret)}:
            for text in said:
                if form in text:
                    raise Failed(f"a secret is seen: {text.replace(form, '(the secret)')[:200]}")


async def traced(bench: Bench) -> None:
    """Both directions of the wire are shown."""
    async with bench.running() as run:
        await _everything(run)
        shown = {line.direction for line in run.node.traced.lines()}
    missing = {"in", "out"} - shown
    if missing:
        raise Failed(f"nothing is shown of direction {', '.join(sorted(missing))}")


def _any_of(run: Run, sample: Sample, since: int) -> bool:
    return any(
        one.point == sample.point and abs(one.value) == abs(sample.value) for one in run.node.stored[since:]
    )  # fmt: skip


def _damaged(frame: Frame) -> list[bytes]:
    """Return the frame cut short everywhere, with each byte changed, and with more behind it."""
    data = frame.data[:2_000]
    cut = [data[:at] for at in range(len(data))]
    changed = [
        data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :] for at in range(len(data)) for flip in (1, 128, 255)
    ]
    return [*cut, *changed, data + b"\0", data + b"\xff" * 100, b"\0" * len(data), b"\xff" * len(data)]


async def _everything(run: Run) -> None:
    """Have readings taken, and an order carried out where the device takes any."""
    for sample in run.rig.samples[:2]:
        await run.arrives(sample, f"{sample.name} of {sample.value:g} {sample.unit}")
    run.node.order(run.order(1_000.0))
    await run.pace.until(lambda: run.node.progressed, "a word about an order", 60.0)


CHECKS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "entry-point": entry_point,
    "permissions-declared": permissions_declared,
    "round-trips": round_trips,
    "malformed-input-harmless": malformed_input_harmless,
    "units-declared": units_declared,
    "signs-declared": signs_declared,
    "cancel-clean": life.cancel_clean,
    "secrets-not-logged": secrets_not_logged,
    "traced": traced,
    "ack-after-durable": ack_after_durable,
    "resend-after-failure": resend_after_failure,
    "bounded-queues": bounded_queues,
    "reconnect": life.reconnect,
    "restart-resumes": life.restart_resumes,
    "follows-bindings": life.follows_bindings,
    "refused-write-never-sent": life.refused_write_never_sent,
    "ack-is-never-a-reading": life.ack_is_never_a_reading,
}
"""The checks, by the names of their rules."""
