"""The store's format: one of an older version is brought up to date, one of a later is refused in words."""

import msgspec
import pytest
from adapter_node import DictStore
from ocpp_bench import DEVICE, ONE, STATION, TWO, binding, make_node, serving

from gridspine.adapters.ocpp.station import Stations
from gridspine.adapters.ocpp.store_format import bring_up_to_date
from gridspine.adapters.ocpp.transaction import Record, Transaction
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Binding

OPEN = Transaction("7", 1, evse=1, token="T")
OLD = {
    f"station/{STATION}": msgspec.json.encode(Record(begun=2, open=(OPEN,))),
    f"transaction/{STATION}/0": msgspec.json.encode(Transaction("5", 0, evse=1, meter_stop_wh=10.0)),
    f"signed/{STATION}/0": b"{}",
}


async def filled(kept):
    store = DictStore()
    for key, value in kept.items():
        await store.put(key, value)
    return store


async def test_a_store_of_the_first_format_goes_on_where_it_was():
    node = make_node(store=await filled(OLD))
    async with serving(node):
        state, output, _ = await node.request(ONE, "transactions", {})
        assert state == "done"
        assert [one["id"] for one in output["transactions"]] == ["7", "5"]
        kept = await node.store.items()
    assert {key for key in kept if key != "format"} == {
        f"station/org/{STATION}", f"transaction/org/{STATION}/0", f"signed/org/{STATION}/0",
    }  # fmt: skip
    assert kept["format"] == b"2"


async def test_what_belongs_to_nobody_or_to_several_stays_and_is_moved_once_that_is_clear(caplog):
    store = await filled(OLD)
    one = binding()
    other = Binding(TWO, "C", "other", one.model, {"station": STATION, "device": DEVICE}, one.points)
    for bindings in ((), (one, other)):
        assert await bring_up_to_date(store, Stations(bindings)) == 0
        assert await store.items() == OLD
        assert STATION in caplog.text
    assert await bring_up_to_date(store, Stations([one])) == 3
    assert await bring_up_to_date(store, Stations([one])) == 0
    assert (await store.items()).keys() & OLD.keys() == set()


async def test_a_store_of_a_later_format_is_not_touched():
    later = {"format": b"3", "station/x": b"?"}
    store = await filled(later)
    with pytest.raises(Invalid, match="format 3, and this version knows 2"):
        await bring_up_to_date(store, Stations([binding()]))
    assert await store.items() == later
