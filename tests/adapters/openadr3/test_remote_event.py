"""Events of somebody else's VTN that say more than the node holds: they are cut, and not left out."""

import pytest

from gridspine.adapters.openadr3.remote_event import NO_PRIORITY, read_event
from gridspine.kernel.errors import Invalid

EVENT = {"id": "e1", "programID": "p1", "intervals": []}


@pytest.mark.parametrize("edition", ["3.1.0", "3.0.1"])
def test_a_long_name_is_cut_and_a_priority_beyond_all_is_the_last(edition):
    found = read_event({**EVENT, "eventName": "x" * 600, "priority": 2**32 - 1}, edition).request
    assert (found.event_name, found.priority) == ("x" * 500, NO_PRIORITY)
    found = read_event({**EVENT, "eventName": "Tonight", "priority": 3}, edition).request
    assert (found.event_name, found.priority) == ("Tonight", 3)


@pytest.mark.parametrize("wrong", [{"eventName": 7}, {"priority": "first"}, {"priority": -1}])
def test_what_is_no_name_or_priority_is_no_event(wrong):
    with pytest.raises(Invalid):
        read_event({**EVENT, **wrong}, "3.1.0")
