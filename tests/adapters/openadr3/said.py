"""What clients of OpenADR say, shared by tests."""

import time

from gridspine.kernel.time import US, format_rfc3339

PRICE = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH", "currency": "EUR"}
LIMIT = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}


def at(seconds):
    return format_rfc3339(time.time_ns() // 1000 + round(seconds * US))


async def made(http, path, body, status=201):
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def program(http, name="P", **more):
    return await made(http, "/programs", {"programName": name, "payloadDescriptors": [PRICE], **more})


def event(of, begin_s=60, lasts="PT1H", **more):
    intervals = [{"id": 0, "payloads": [{"type": "PRICE", "values": [0.17]}]}]
    period = {"start": at(begin_s), "duration": lasts}
    return {"programID": of["id"], "intervalPeriod": period, "intervals": intervals, **more}
