"""The lives of Things on a whole node: gates, transfers, retirement, histories, and what a restart brings back."""

from running_node import BATTERY, METER, SENML, World, settings_for


async def test_a_node_starts_and_stops_with_it(world):
    await world.thing()
    assert world.node.lives.lifecycles.standings.paused == 0
