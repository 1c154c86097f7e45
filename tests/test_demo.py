"""The story that the demonstration tells, told by the command itself: it holds, and its figures say so."""

import json
import os
import subprocess
import sys

import pytest

KEYS = (
    "things", "points", "received", "accepted", "suppressed", "duplicate", "refused", "stored", "delivered",
    "p50_ms", "p99_ms", "commands_applied", "cut_s", "receipts_verified",
    "life_events", "ensemble_members", "emulated_things", "charging_w", "csip_w", "ven_w",
    "paid_wh",
)  # fmt: skip


@pytest.mark.slow
def test_the_story_holds(tmp_path):
    """30 s of three homes: counts add up, commands are applied, a revoked consumer is cut soon.

    Within a second, says the command to a person; here other tests have the machine, too.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRIDSPINE_")}
    words = ["demo", "--seconds", "30", "--json", "--cut-within", "10", "--data", tmp_path / "data"]
    ended = subprocess.run(
        [sys.executable, "-m", "gridspine.apps.cli", *words],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert tuple(figures) == KEYS
    assert not [name for name in KEYS if figures[name] is None]
    verdicts = ("accepted", "suppressed", "duplicate", "refused")
    assert figures["received"] == sum(figures[name] for name in verdicts) > 0
    assert figures["stored"] == figures["accepted"] > 0
    assert figures["delivered"] > 0
    assert figures["things"] == 14 + figures["emulated_things"] == 54, "twelve, two ensembles, and the neighbours"
    assert figures["charging_w"] > 3_000
    assert -1_560 <= figures["csip_w"] <= -1_440, "an inverter that could give more keeps to its DERControl"
    assert 900 < figures["ven_w"] <= 1_000
    assert figures["ensemble_members"] == 2
    assert figures["life_events"] >= 6
    assert figures["paid_wh"] == 8, "all that was bid: the battery took 10 Wh in its 12 s"
    assert figures["commands_applied"] == 2
    assert figures["receipts_verified"] > 0
    assert 0 < figures["cut_s"] < 10
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert "DID NOT HOLD" not in ended.stderr
    assert "Traceback" not in ended.stderr
