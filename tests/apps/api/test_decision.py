"""Decisions are kept, and told to auditors of the node only."""

from running_node import METER, World


async def test_a_refusal_names_a_decision_that_an_auditor_can_read(world: World) -> None:
    for id_ in ("urn:example:one", "urn:example:two"):
        made = await world.op.post("/things", json={"id": id_, "title": "Meter", "model": METER})
        assert made.status_code == 201, made.text
    refused = (await world.co.get("/things/urn:example:one")).json()
    assert "urn:example:one" not in refused["detail"], "whoever may not know is not told why"
    answer = await world.op.get(f"/decisions/{refused['decision']}")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["allowed"] is False
    assert told["resource"] == "Thing urn:example:one"
    assert told["principal"] == f"Principal {world.co_id}"
    assert "another organisation" in told["reason"]

    assert (await world.co.get(f"/decisions/{refused['decision']}")).status_code == 403
    _, operator = world.client("northside-networks", "operator")
    assert (await operator.get(f"/decisions/{refused['decision']}")).status_code == 403
    for unknown in ("x", "allowed", refused["decision"][:-1]):
        assert (await world.op.get(f"/decisions/{unknown}")).status_code == 404


async def test_a_long_name_is_cut_where_it_is_kept(world: World) -> None:
    refused = (await world.co.get("/things/urn:example:" + "y" * 20_000)).json()
    told = (await world.op.get(f"/decisions/{refused['decision']}")).json()
    assert len(told["resource"]) == 300
