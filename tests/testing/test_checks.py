"""Each check lets a sound adapter pass, and sees the fault that is planted for it."""

import asyncio

import pytest
from judged_drop import QUALITY, Drop, DropRig, _kept

from gridspine.testing.bench import Bench
from gridspine.testing.checks import CHECKS
from gridspine.testing.quality import read_quality
from gridspine.testing.verdict import Failed

FAULTS = {
    "entry-point": [("other-name", "its entry point is"), ("one-for-all", "the same adapter twice")],
    "permissions-declared": [("stores", "keeps something"), ("undeclared", "listens on drop")],
    "round-trips": [
        ("no-frames", "no recorded frame"), ("wrong-meaning", "is read as"), ("wrong-writing", "is written as"),
    ],
    "malformed-input-harmless": [("decode-breaks", "raises IndexError")],
    "units-declared": [("loses-unit", "is measured in 'W', and arrives in ['']")],
    "signs-declared": [("turns-sign", "its sign is turned"), ("unsaid-sign", "says nothing of activePower")],
    "cancel-clean": [("leaves-task", "leaves 1 tasks"), ("will-not-end", "did not end")],
    "secrets-not-logged": [("logs-password", "a secret is seen"), ("traces-password", "a secret is seen")],
    "traced": [("untraced", "nothing is shown of direction in, out")],
    "ack-after-durable": [("acknowledges-early", "before the log had")],
    "resend-after-failure": [("acknowledges-early", "what the log did not keep"), ("drops", "not within")],
    "bounded-queues": [
        ("unbounded", "readings waited for the log, and quality.toml says 3"), ("queues-orders", "reached it as 40"),
    ],
    "reconnect": [("once", "a reading after the break: not within")],
    "restart-resumes": [("forgets-order", "after the restart the device was given [0.0]")],
    "follows-bindings": [("reads-on", "is read on")],
    "refused-write-never-sent": [
        ("sends-over", "that was over"), ("sends-older", "older than the last"), ("insists", "was sent"),
    ],
    "ack-is-never-a-reading": [("believes", "came as a reading")],
}  # fmt: skip


def bench(*faults: str) -> Bench:
    text = QUALITY
    if "undeclared" in faults:
        text = text.replace('["drop"]', "[]")
    if "unsaid-sign" in faults:
        text = text.replace("activePower =", "voltage =")
    only = Drop(*faults)
    return Bench(
        "other" if "other-name" in faults else "drop",
        (lambda: only) if "one-for-all" in faults else (lambda: Drop(*faults)),
        lambda: DropRig(*faults),
        read_quality(text),
        patience_s=0.2 if faults else 10.0,
    )


@pytest.mark.parametrize("check", CHECKS)
async def test_a_sound_adapter_passes(check: str) -> None:
    await CHECKS[check](bench())


@pytest.mark.parametrize(
    ("check", "fault", "words"), [(check, *planted) for check, found in FAULTS.items() for planted in found]
)
async def test_a_planted_fault_is_seen(check: str, fault: str, words: str) -> None:
    with pytest.raises(Failed) as failed:
        await CHECKS[check](bench(fault))
    assert words in str(failed.value)
    for task in [*_kept, *(one for one in asyncio.all_tasks() if one is not asyncio.current_task())]:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    _kept.clear()


def test_every_check_has_a_planted_fault() -> None:
    assert set(FAULTS) == set(CHECKS)
