"""The PyPI package toadr3 as a VEN of OpenADR 3.0.1: what it sees, a subscription, a report."""

import asyncio
import json
import sys

import toadr3
from toadr3 import models


async def main(asked):
    url = f"{asked['url']}/3.0.1"
    id_, secret = asked["ven"]
    config = toadr3.OAuthScopeConfig(f"{url}/auth/token", "client_credentials", "read_all write_reports", id_, secret)
    async with toadr3.ToadrClient(url, config) as ven:
        (program,) = await ven.get_programs()
        (event,) = await ven.get_events(program_id=program.id)
        assert await ven.get_events(target_type="GROUP", target_values=["elsewhere"]) == []
        assert event.intervals[0].payloads[0].values == [0.17], event
        operation = models.ObjectOperation(objects=["EVENT"], operations=["POST"], callback_url=asked["callback"])
        kept = await ven.post_subscription(
            models.Subscription(client_name="v", programID=program.id, object_operations=[operation])
        )
        assert (await ven.get_subscription(kept.id)).client_name == "v"
        payloads = [models.ValuesMap(type="USAGE", values=[1.5])]
        told = models.ReportData(resource_name="r", intervals=[models.Interval(id=0, payloads=payloads)])
        report = await ven.post_report(
            models.Report(programID=program.id, eventID=event.id, clientName="v", resources=[told])
        )
        assert [one.id for one in await ven.get_reports(program_id=program.id)] == [report.id]
        print(json.dumps({"program": program.id, "event": event.id, "subscription": kept.id, "report": report.id}))


asyncio.run(main(json.load(sys.stdin)))
