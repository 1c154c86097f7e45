"""Actions asked of charge points: each by its version's own message, and whatever may go wrong on the way."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from ocpp_bench import ONE, TWO, at, binding, event, make_node, raw, serving

import gridspine.energy.models as models
from gridspine.adapters.ocpp import actions_der, actions_v2x
from gridspine.adapters.ocpp.asked import MAX_ASKED
from gridspine.adapters.ocpp.driver import ACTIONS
from gridspine.things.adapter import ActionRequest

OK = {"status": "Accepted"}
HASHES = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "1"}
FIRMWARE = {"url": "https://example.org/f.bin", "retrieveAt": "2030-01-01T00:00:00Z"}
SIGNED = FIRMWARE | {"signature": "c2ln", "signingCertificate": "PEM"}
LISTED = [{"id": "A1"}, {"id": "B2", "status": None}]
VARIABLE = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
OF_EVSE = {"component": {"name": "EVSE", "instance": "x", "evse": {"id": 2}}, "variable": {"name": "Power"}}

CURVE = {"priority": 1, "yUnit": "PctMaxVar", "curveData": [{"x": 92, "y": 44}, {"x": 108, "y": -44}]}
GRADIENT = {"priority": 1, "gradient": 60, "softGradient": 300}

# version, action, input, called, what its payload has, answer, output (None: not looked at)
SENT = [
    ("1.6", "remoteStart", {"token": "T"}, "RemoteStartTransaction", {"connectorId": 1, "idTag": "T"}, OK, None),
    ("2.0.1", "remoteStart", {"token": "T", "idType": "eMAID"}, "RequestStartTransaction",
     {"evseId": 1, "idToken": {"idToken": "T", "type": "eMAID"}}, OK | {"transactionId": "x"}, None),
    ("2.1", "remoteStart", None, "RequestStartTransaction", {"evseId": 1}, OK, None),
    ("1.6", "unlock", None, "UnlockConnector", {"connectorId": 1}, {"status": "Unlocked"}, {"status": "Unlocked"}),
    ("2.0.1", "unlock", {"connector": 2}, "UnlockConnector", {"evseId": 1, "connectorId": 2}, {"status": "Unlocked"},
     None),
    ("1.6", "cancelReservation", {"reservation": 7}, "CancelReservation", {"reservationId": 7}, OK, {"reservation": 7}),
    ("2.1", "cancelReservation", {"reservation": 7}, "CancelReservation", {"reservationId": 7}, OK, None),
    ("1.6", "changeAvailability", {"available": False}, "ChangeAvailability",
     {"connectorId": 1, "type": "Inoperative"}, {"status": "Scheduled"}, {"status": "Scheduled"}),
    ("2.0.1", "changeAvailability", {"available": True, "whole": True}, "ChangeAvailability",
     {"operationalStatus": "Operative"}, OK, None),
    ("1.6", "clearCache", None, "ClearCache", {}, OK, None),
    ("2.0.1", "clearCache", None, "ClearCache", {}, OK, None),
    ("1.6", "trigger", {"message": "Heartbeat", "whole": True}, "TriggerMessage", {"requestedMessage": "Heartbeat"},
     OK, None),
    ("1.6", "trigger", {"message": "LogStatusNotification"}, "ExtendedTriggerMessage", {"connectorId": 1}, OK, None),
    ("2.0.1", "trigger", {"message": "StatusNotification"}, "TriggerMessage",
     {"evse": {"id": 1, "connectorId": 1}}, OK, None),
    ("1.6", "reset", {"hard": True}, "Reset", {"type": "Hard"}, OK, None),
    ("2.0.1", "reset", {"onlyEvse": True}, "Reset", {"type": "OnIdle", "evseId": 1}, {"status": "Scheduled"},
     {"status": "Scheduled"}),
    ("1.6", "getVariables", {"names": ["a"]}, "GetConfiguration", {"key": ["a"]},
     {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": "geheim"},
                           {"key": "a", "readonly": True, "value": "1"}], "unknownKey": ["b"]},
     {"values": {"AuthorizationKey": "(hidden)", "a": "1"}, "readOnly": ["a"], "unknown": ["b"]}),
    ("2.0.1", "getVariables", {"names": ["OCPPCommCtrlr.HeartbeatInterval", "EVSE[x]@2.Power"]}, "GetVariables",
     {"getVariableData": [VARIABLE, OF_EVSE]},
     {"getVariableResult": [VARIABLE | {"attributeStatus": "Accepted", "attributeValue": "300"},
                            OF_EVSE | {"attributeStatus": "UnknownVariable"}]},
     {"values": {"OCPPCommCtrlr.HeartbeatInterval": "300"}, "refused": {"EVSE[x]@2.Power": "UnknownVariable"}}),
    ("1.6", "setVariables", {"values": {"AuthorizationKey": "0123456789abcdef"}}, "ChangeConfiguration",
     {"key": "AuthorizationKey", "value": "0123456789abcdef"}, {"status": "RebootRequired"},
     {"status": {"AuthorizationKey": "RebootRequired"}}),
    ("2.1", "setVariables", {"values": {"OCPPCommCtrlr.HeartbeatInterval": "60"}}, "SetVariables",
     {"setVariableData": [VARIABLE | {"attributeValue": "60"}]},
     {"setVariableResult": [VARIABLE | {"attributeStatus": "Accepted"}]}, None),
    ("1.6", "sendLocalList", {"tokens": LISTED, "full": False, "version": 4}, "SendLocalList",
     {"listVersion": 4, "updateType": "Differential",
      "localAuthorizationList": [{"idTag": "A1", "idTagInfo": {"status": "Accepted"}}, {"idTag": "B2"}]}, OK,
     {"version": 4, "tokens": 2}),
    ("2.0.1", "sendLocalList", {"tokens": LISTED, "full": False, "version": 4}, "SendLocalList",
     {"versionNumber": 4, "localAuthorizationList": [
         {"idToken": {"idToken": "A1", "type": "ISO14443"}, "idTokenInfo": {"status": "Accepted"}},
         {"idToken": {"idToken": "B2", "type": "ISO14443"}}]}, OK, None),
    ("1.6", "getLocalListVersion", None, "GetLocalListVersion", {}, {"listVersion": 3}, {"version": 3}),
    ("2.0.1", "getLocalListVersion", None, "GetLocalListVersion", {}, {"versionNumber": 0}, {"version": 0}),
    ("1.6", "updateFirmware", FIRMWARE, "UpdateFirmware",
     {"location": FIRMWARE["url"], "retrieveDate": FIRMWARE["retrieveAt"]}, {}, {"status": "Accepted"}),
    ("1.6", "updateFirmware", SIGNED, "SignedUpdateFirmware", {}, OK, None),
    ("2.0.1", "updateFirmware", SIGNED, "UpdateFirmware", {}, {"status": "AcceptedCanceled"}, None),
    ("1.6", "getLog", {"url": "ftp://example.org/"}, "GetDiagnostics", {"location": "ftp://example.org/"},
     {"fileName": "d.zip"}, {"status": "Accepted", "file": "d.zip"}),
    ("1.6", "getLog", {"url": "ftp://example.org/", "kind": "security"}, "GetLog", {"logType": "SecurityLog"}, OK,
     None),
    ("2.1", "getLog", {"url": "ftp://example.org/"}, "GetLog", {"logType": "DiagnosticsLog"}, OK | {"filename": "l"},
     None),
    ("1.6", "dataTransfer", {"vendor": "v", "message": "m", "data": "d"}, "DataTransfer",
     {"vendorId": "v", "messageId": "m", "data": "d"}, OK | {"data": "x"}, {"status": "Accepted", "data": "x"}),
    ("2.0.1", "dataTransfer", {"vendor": "v", "data": {"a": 1}}, "DataTransfer", {"vendorId": "v", "data": {"a": 1}},
     OK, None),
    ("1.6", "installCertificate", {"use": "system", "certificate": "PEM"}, "InstallCertificate",
     {"certificateType": "CentralSystemRootCertificate"}, OK, None),
    ("2.1", "installCertificate", {"use": "v2g", "certificate": "PEM"}, "InstallCertificate",
     {"certificateType": "V2GRootCertificate"}, OK, None),
    ("1.6", "listCertificates", None, "GetInstalledCertificateIds", {}, OK | {"certificateHashData": [HASHES]},
     {"certificates": [HASHES]}),
    ("2.0.1", "listCertificates", None, "GetInstalledCertificateIds", {"certificateType": ["CSMSRootCertificate"]},
     {"status": "NotFound"}, {"certificates": []}),
    ("2.0.1", "deleteCertificate", HASHES, "DeleteCertificate", {"certificateHashData": HASHES}, OK, None),
    ("2.1", "setDerControl", {"type": "VoltVar", "control": CURVE, "id": "c", "startAt": "2030-01-01T00:00:00Z",
                              "durationS": 600}, "SetDERControl",
     {"isDefault": False, "controlId": "c", "controlType": "VoltVar",
      "curve": CURVE | {"startTime": "2030-01-01T00:00:00Z", "duration": 600}}, OK | {"supersededIds": ["b"]},
     {"id": "c", "superseded": ["b"]}),
    ("2.1", "setDerControl", {"type": "Gradients", "default": True, "control": GRADIENT}, "SetDERControl",
     {"isDefault": True, "controlType": "Gradients", "gradient": GRADIENT}, OK, None),
    ("2.1", "clearDerControl", {"id": "c"}, "ClearDERControl", {"isDefault": False, "controlId": "c"},
     {"status": "NotFound"}, {"status": "NotFound"}),
]  # fmt: skip


@contextlib.asynccontextmanager
async def connected(node, version="1.6"):
    """A charge point that the node knows to be connected: it has answered it."""
    async with raw(node, version) as point:
        await point.call("Heartbeat", {})
        yield point


@pytest.mark.parametrize(
    ("version", "action", "given", "called", "has", "answer", "output"), SENT,
    ids=[f"{version} {called} {number}" for number, (version, _, _, called, *_) in enumerate(SENT)],
)  # fmt: skip
async def test_an_action_is_its_versions_own_message(version, action, given, called, has, answer, output):
    node = make_node()
    async with serving(node), connected(node, version) as point:
        point.answers = {called: answer}
        asked = asyncio.create_task(node.request(ONE, action, given))
        assert await point.answer_next() == called
        state, said, reason = await asked
    assert (state, reason) == ("done", "")
    assert has.items() <= point.called[0][1].items()
    assert output is None or said == output


def test_every_action_of_the_model_is_served_and_no_other():
    folder = Path(models.__path__[0])
    charger, v2x = (json.loads((folder / f"{name}.tm.json").read_text()) for name in ("ev_charger", "v2x_charger"))
    named = {name for name, one in v2x["actions"].items() if one["gs:does"] in {"request", "maintain"}}
    assert named == {*ACTIONS, "transactions", "signedValues", "station"}
    assert charger["actions"].items() <= v2x["actions"].items()
    assert v2x["actions"].keys() - charger["actions"].keys() == actions_der.ACTIONS.keys() | actions_v2x.ACTIONS.keys()
    elsewhere = {"reserve", "remoteStop", "sendCertificate", "getDerControls", "allowEnergyTransfer"}
    assert {action for _, action, *_ in SENT} >= ACTIONS.keys() - elsewhere


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_reservation_is_made_and_named(version):
    node = make_node()
    until = at(node, 3600)
    async with serving(node), connected(node, version) as point:
        point.answers = {"ReserveNow": [OK, {"status": "Occupied"}]}
        asked = asyncio.create_task(node.request(ONE, "reserve", {"token": "T", "until": until}))
        await point.answer_next()
        state, said, _ = await asked
        payload = point.called[0][1]
        assert (state, said["until"]) == ("done", until)
        assert said["reservation"] == payload["reservationId" if version == "1.6" else "id"]
        asked = asyncio.create_task(node.request(ONE, "reserve", {"token": "T", "until": until}))
        await point.answer_next()
        assert await asked == ("refused", None, "the charge point answers Occupied")
        assert (await node.request(ONE, "reserve", {"token": "T", "until": at(node, -9)}))[0] == "refused"
        assert (await node.request(ONE, "reserve", {"token": "T", "until": "soon"}))[0] == "refused"


async def test_a_start_of_the_nodes_own_may_charge_and_is_stopped_by_its_evse():
    node = make_node()
    async with serving(node), connected(node) as point:
        point.answers = {"RemoteStartTransaction": OK, "RemoteStopTransaction": OK}
        assert await node.request(ONE, "remoteStop") == (
            "refused", None, "no transaction runs here, as far as the node knows",
        )  # fmt: skip
        asked = asyncio.create_task(node.request(ONE, "remoteStart"))
        await point.answer_next()
        _, said, _ = await asked
        token = said["token"]
        assert (await point.call("Authorize", {"idTag": "stranger"}))["idTagInfo"]["status"] == "Invalid"
        assert (await point.call("Authorize", {"idTag": token}))["idTagInfo"]["status"] == "Accepted"
        begun = {"connectorId": 1, "idTag": token, "meterStart": 5, "timestamp": at(node)}
        number = (await point.call("StartTransaction", begun))["transactionId"]
        asked = asyncio.create_task(node.request(ONE, "remoteStop"))
        await point.answer_next()
        assert await asked == ("done", {"transaction": str(number)}, "")
        assert point.called[-1] == ("RemoteStopTransaction", {"transactionId": number})
        assert (await node.request(ONE, "remoteStop", {"transaction": "1"}))[0] == "refused"


async def test_a_transaction_of_2_is_stopped_by_its_name():
    node = make_node()
    async with serving(node), connected(node, "2.0.1") as point:
        point.answers = {"RequestStopTransaction": OK}
        await point.call("TransactionEvent", event(node, "Started", 0, wh=1))
        asked = asyncio.create_task(node.request(ONE, "remoteStop"))
        await point.answer_next()
        assert await asked == ("done", {"transaction": "t1"}, "")


async def test_the_nodes_own_list_is_sent_with_the_next_version():
    node = make_node()
    async with serving(node), connected(node) as point:
        point.answers = {
            "GetLocalListVersion": {"listVersion": 7},
            "SendLocalList": [OK, {"status": "VersionMismatch"}],
        }
        asked = asyncio.create_task(node.request(ONE, "sendLocalList"))
        for _ in range(2):
            await point.answer_next()
        assert await asked == ("done", {"version": 8, "tokens": 2}, ""), "the expired one is left out"
        said = point.called[-1][1]
        assert [one["idTag"] for one in said["localAuthorizationList"]] == ["CAFE01", "BAD"]
        asked = asyncio.create_task(node.request(ONE, "sendLocalList", {"version": 3}))
        await point.answer_next()
        assert (await asked)[2] == "the charge point answers VersionMismatch"
        point.answers["GetLocalListVersion"] = {"listVersion": -1}
        asked = asyncio.create_task(node.request(ONE, "getLocalListVersion"))
        await point.answer_next()
        assert await asked == ("refused", None, "the charge point keeps no local list")


WRONG = [
    ("1.6", "selfDestruct", None, "OCPP has no action"),
    ("1.6", "unlock", {"force": 1}, "unknown field `force`"),
    ("1.6", "changeAvailability", {}, "missing required field `available`"),
    ("1.6", "reset", {"onlyEvse": True}, "OCPP 1.6 has no"),
    ("2.0.1", "getVariables", None, "by their names"),
    ("2.0.1", "getVariables", {"names": ["Heartbeat"]}, "Component.Variable"),
    ("1.6", "setVariables", {"values": {}}, "1 to 50"),
    ("1.6", "updateFirmware", {"url": "file:///etc/passwd"}, "url: begins with"),
    ("2.0.1", "updateFirmware", FIRMWARE | {"signature": "x"}, "go together"),
    ("1.6", "updateFirmware", FIRMWARE | {"installAt": "2030-01-01T00:00:00Z"}, "OCPP 1.6 has no"),
    ("1.6", "dataTransfer", {"vendor": "v", "data": 1}, "a text in OCPP 1.6"),
    ("1.6", "installCertificate", {"use": "v2g", "certificate": "x"}, "OCPP 1.6 has no certificates for v2g"),
    ("1.6", "remoteStart", {"token": "longer than twenty characters"}, "makes no message of OCPP"),
    ("2.0.1", "sendLocalList", {"tokens": LISTED, "version": 1}, "each has a status"),
]


@pytest.mark.parametrize(("version", "action", "given", "reason"), WRONG)
async def test_what_makes_no_message_is_refused_and_never_sent(version, action, given, reason):
    node = make_node()
    async with serving(node), connected(node, version) as point:
        state, _, said = await node.request(ONE, action, given)
        assert (state, reason in said) == ("refused", True), said
        await point.call("Heartbeat", {})
        assert point.called == []


async def test_what_goes_wrong_is_told_as_what_it_is():
    node = make_node(settings={"call_timeout_s": 3.0})
    async with serving(node):
        state, _, said = await node.request(ONE, "unlock")
        assert (state, said) == ("failed", "the charge point is not connected: nothing was sent")
        async with connected(node) as point:
            point.answers = {
                "UnlockConnector": [{"status": "UnlockFailed"}, "NotSupported", "InternalError", None, {"status": 5}]
            }
            ends = []
            for _ in range(5):
                asked = asyncio.create_task(node.request(ONE, "unlock"))
                await point.answer_next()
                ends.append(await asked)
            cut = asyncio.create_task(node.request(ONE, "unlock"))
            await point.receive()
        ends.append(await cut)
    assert [(state, said.partition(":")[0]) for state, _, said in ends] == [
        ("refused", "the charge point answers UnlockFailed"),
        ("refused", "the charge point has no such function"),
        ("refused", "the charge point refuses it"),
        ("failed", "UnlockConnector"),
        ("refused", "the charge point refuses it"),
        ("failed", "the connection ended before the answer came; whether it was done, nobody knows"),
    ]
    assert ends[3][2].endswith("whether it was done, nobody knows")


async def test_a_request_has_its_time_and_a_stop_ends_it():
    node = make_node()
    async with serving(node), connected(node) as point:
        asked = asyncio.create_task(node.request(ONE, "clearCache", lasts_s=3.0))
        await point.receive()
        state, _, said = await asked
        assert (state, "nobody knows" in said) == ("failed", True)
        node.requesting.put_nowait(ActionRequest("r", ONE, "clearCache", None, node.clock.now_us() + 60_000_000))
        await point.receive()
    assert node.requested["r"] == ("failed", None, "the node stops")
    async with serving(node), connected(node) as point:
        assert await point.call("Heartbeat", {})
        assert point.called == [], "what was asked before the stop is not asked again"


async def test_the_actions_under_way_are_bounded():
    node = make_node()
    async with serving(node), connected(node) as point:
        until_us = node.clock.now_us() + 60_000_000
        for number in range(MAX_ASKED + 1):
            node.requesting.put_nowait(ActionRequest(f"r{number}", ONE, "clearCache", None, until_us))
        await node.until(lambda: f"r{MAX_ASKED}" in node.requested)
        assert node.requested[f"r{MAX_ASKED}"][0] == "refused"
        await point.receive()


SIGNED_VALUE = {"value": "OCMF|{}|{}", "format": "SignedData", "context": "Transaction.End"}


async def test_transactions_and_signed_values_are_told_by_evse():
    node = make_node(binding(), binding(TWO, evse=2))
    async with serving(node), connected(node) as point:
        ids = []
        for evse, wh in ((1, 100), (2, 500)):
            begun = {"connectorId": evse, "idTag": "CAFE01", "meterStart": wh, "timestamp": at(node, evse)}
            ids.append((await point.call("StartTransaction", begun))["transactionId"])
        when = at(node, 9)
        signed = [{"timestamp": when, "sampledValue": [SIGNED_VALUE]}]
        await point.call("MeterValues", {"connectorId": 1, "transactionId": ids[0], "meterValue": signed})
        end = {"transactionId": ids[0], "meterStop": 700, "timestamp": at(node, 9), "transactionData": signed}
        await point.call("StopTransaction", end)
        await point.call("BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Wall"})
    async with serving(node):  # and the charge point is not connected
        (one,) = (await node.request(ONE, "transactions"))[1]["transactions"]
        (two,) = (await node.request(TWO, "transactions"))[1]["transactions"]
        values = (await node.request(ONE, "signedValues", {"transaction": str(ids[0])}))[1]
        assert values == {"values": [{"timestamp": when, "sampledValue": SIGNED_VALUE}] * 2}
        assert (await node.request(TWO, "signedValues", {"transaction": str(ids[1])}))[1] == {"values": []}
        for thing, id_ in ((TWO, ids[0]), (ONE, "9")):
            assert (await node.request(thing, "signedValues", {"transaction": str(id_)}))[0] == "refused"
        station = (await node.request(ONE, "station"))[1]
    assert (one["energyWh"], one["token"], one["reason"], one["signed"]) == (600, "CAFE01", "Local", True)
    assert ("stoppedAt" in two, two["meterStartWh"]) == (False, 500)
    assert station["boot"]["chargePointVendor"] == "Acme"


async def test_transactions_are_told_in_pages():
    node = make_node()
    async with serving(node), connected(node) as point:
        for number in range(60):
            begun = {"connectorId": 1, "idTag": "CAFE01", "meterStart": number, "timestamp": at(node, number)}
            id_ = (await point.call("StartTransaction", begun))["transactionId"]
            await point.call("StopTransaction", {"transactionId": id_, "meterStop": 99, "timestamp": at(node, number)})
        first = (await node.request(ONE, "transactions"))[1]
        second = (await node.request(ONE, "transactions", {"before": first["next"]}))[1]
    starts = [one["meterStartWh"] for one in first["transactions"] + second["transactions"]]
    assert starts == list(reversed(range(60)))
    assert "next" not in second
