"""The PyPI package openadr3 as business logic and VEN of OpenADR 3.1.0: program, VEN, event, report, subscription."""

import json
import sys

from openadr3 import api
from openadr3.auth import fetch_token

asked = json.load(sys.stdin)
url = f"{asked['url']}/3.1.0"
bl = api.create_bl_client(url, fetch_token(url, *asked["bl"], scopes=sorted(api.BL_SCOPES)))
ven = api.create_ven_client(url, fetch_token(url, *asked["ven"]))


def said(answer, status=200):
    """Return what was answered, if it was as it should be."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


price = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH", "currency": "EUR"}
program = said(bl.create_program({"programName": "P", "payloadDescriptors": [price], "targets": ["north"]}), 201)
assert ven.programs() == []
given = {"objectType": "BL_VEN_REQUEST", "clientID": asked["ven"][0], "venName": "v", "targets": ["north"]}
said(bl.create_ven(given), 201)
operations = [{"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": asked["callback"], "bearerToken": "t"}]
said(ven.create_subscription({"clientName": "v", "programID": program["id"], "objectOperations": operations}), 201)
period = {"start": asked["start"], "duration": "PT1H"}
intervals = [{"id": 0, "payloads": [{"type": "PRICE", "values": [0.17]}]}]
body = {"programID": program["id"], "eventName": "E", "intervalPeriod": period, "intervals": intervals}
event = said(bl.create_event(body), 201)
(seen,) = ven.events(programID=program["id"])
assert seen.id == event["id"], seen
assert ven.find_program_by_name("P").id == program["id"]
told = [{"resourceName": "r", "intervals": [{"id": 0, "payloads": [{"type": "USAGE", "values": [1.5]}]}]}]
report = said(ven.create_report({"eventID": event["id"], "clientName": "v", "resources": told}), 201)
assert [one.id for one in bl.reports(eventID=event["id"])] == [report["id"]]
assert bl.find_ven_by_name("v") is not None
assert said(bl.get_notifiers())["MQTT"]["authentication"]["method"] == "OAUTH2_BEARER_TOKEN"
topics = said(ven.get_mqtt_topics_program_events(program["id"]))["topics"]
assert topics["CREATE"] == f"openadr3/{asked['ven'][0]}/programs/{program['id']}/events/create", topics
assert ven.get_mqtt_topics_events().status_code == 403
print(json.dumps({"program": program["id"], "event": event["id"], "report": report["id"]}))
