"""What a real node acknowledges was synced before, and is there after a power cut; if not, both looks say so."""

import pytest

from sim.durability import check_images, check_order
from sim.recording import NEEDS, Recorder

ROUNDS = 4


async def test_everything_is_synced_before_it_is_acknowledged_and_survives_power_cuts(tmp_path):
    recording = await Recorder(tmp_path / "node").run(ROUNDS)
    ordered = check_order(recording)
    assert ordered.answers == dict.fromkeys(NEEDS, ROUNDS)
    assert ordered.too_early == []
    images = await check_images(recording, tmp_path / "images", 20, seed=1)
    assert images.images == 20
    assert images.promises > 0
    assert images.lost == []


@pytest.mark.parametrize("plant", ["log-not-synced", "registry-not-synced"])
async def test_a_missing_sync_is_found_by_both_looks(tmp_path, plant):
    recording = await Recorder(tmp_path / "node", plant).run(ROUNDS)
    assert check_order(recording).too_early
    assert (await check_images(recording, tmp_path / "images", 20, seed=1)).lost


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
async def test_power_cuts_anywhere_lose_nothing_acknowledged(tmp_path, seed):
    recording = await Recorder(tmp_path / "node").run(12)
    assert check_order(recording).too_early == []
    images = await check_images(recording, tmp_path / "images", 100, seed)
    assert images.lost == []
