"""DER controls (OCPP 2.1): a report in parts, what nobody would end, and what a charge point tells by itself."""

import asyncio

import pytest
from ocpp_bench import ONE, at, make_node, raw, serving

OK = {"status": "Accepted"}
LIMIT = {"priority": 1, "pctMaxDischargePower": 50}


def fixed_var(id_):
    return {
        "id": id_, "isDefault": False, "isSuperseded": False,
        "fixedVar": {"priority": 1, "setpoint": 10, "unit": "PctMaxVar"},
    }  # fmt: skip


async def test_a_report_in_parts_is_one_answer_and_a_strangers_is_none():
    node = make_node()
    async with serving(node) as adapter, raw(node, "2.1") as point:
        await point.call("Heartbeat", {})
        point.answers = {"GetDERControl": OK}
        asked = asyncio.create_task(node.request(ONE, "getDerControls", {"type": "FixedVar"}))
        assert await point.answer_next() == "GetDERControl"
        number = point.called[0][1]["requestId"]
        assert point.called[0][1] == {"requestId": number, "controlType": "FixedVar"}
        report = {"requestId": number + 1, "fixedVar": [fixed_var("x")]}
        assert await point.call("ReportDERControl", report) == {}
        for id_, more in (("a", True), ("b", False)):
            report = {"requestId": number, "fixedVar": [fixed_var(id_)], "tbc": more}
            assert await point.call("ReportDERControl", report) == {}
        state, output, _ = await asked
        assert (state, output) == (
            "done",
            {"reports": [{"fixedVar": [fixed_var("a")]}, {"fixedVar": [fixed_var("b")]}]},
        )
        assert adapter.counters["reports_nobody_asked_for"] == 1
        point.answers = {"GetDERControl": {"status": "NotFound"}}
        asked = asyncio.create_task(node.request(ONE, "getDerControls", None))
        await point.answer_next()
        assert (await asked)[:2] == ("done", {"reports": []})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "LimitMaxDischarge", "control": LIMIT}, "durationS: what is no default needs an end"),
        ({"type": "EnterService", "control": {}, "durationS": 60}, "has no end"),
        ({"type": "LimitMaxDischarge", "control": LIMIT, "default": True, "durationS": 60}, "a default holds whenever"),
        ({"type": "LimitMaxDischarge", "control": {"duration": 5}, "durationS": 60}, "say when it holds"),
        ({"type": "VoltVar", "control": {"priority": 1}, "durationS": 60}, "makes no message of OCPP"),
        ({"type": "LimitMaxDischarge", "control": LIMIT, "durationS": 60, "startAt": "soon"}, "startAt"),
    ],
)
async def test_a_control_that_nobody_would_end_or_that_is_none_is_not_sent(given, words):
    node = make_node()
    async with serving(node), raw(node, "2.1") as point:
        await point.call("Heartbeat", {})
        state, _, reason = await node.request(ONE, "setDerControl", given)
        assert await point.call("Heartbeat", {})
    assert state == "refused"
    assert words in reason
    assert point.called == []


async def test_older_versions_have_no_der_controls_and_what_a_charge_point_tells_is_kept():
    node = make_node()
    async with serving(node):
        async with raw(node, "2.0.1") as point:
            await point.call("Heartbeat", {})
            assert (await node.request(ONE, "getDerControls", None))[0] == "refused"
            assert await point.call("NotifyDERAlarm", {}) == "NotImplemented"
        async with raw(node, "2.1") as point:
            alarm = {"controlType": "VoltVar", "gridEventFault": "OverVoltage", "timestamp": at(node)}
            started = {"controlId": "c", "started": True, "timestamp": at(node)}
            assert await point.call("NotifyDERAlarm", alarm) == {}
            assert await point.call("NotifyDERStartStop", started) == {}
            needs = {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "AC_BPT"}}
            assert await point.call("NotifyEVChargingNeeds", needs) == {"status": "NoChargingProfile"}
        notices = (await node.request(ONE, "station", None))[1]["notices"]
    assert notices == {"NotifyDERAlarm": alarm, "NotifyDERStartStop": started, "NotifyEVChargingNeeds": needs}
