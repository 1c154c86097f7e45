"""A VEN by openleadr: registers, offers a report, answers events; says as JSON what came of it."""

import asyncio
import json
import sys
from datetime import timedelta

from openleadr import OpenADRClient
from openleadr.objects import Target

asked = json.load(sys.stdin)


async def main():
    said = {"events": [], "opts": []}
    client = OpenADRClient(
        ven_name=asked["name"], vtn_url=asked["url"], cert=asked["cert"], key=asked["key"], ca_file=asked["ca"],
        show_fingerprint=False, disable_signature=not asked["signed"], vtn_fingerprint=asked.get("fingerprint"),
        debug=True,
    )  # fmt: skip
    seen = asyncio.Event()

    async def on_event(event):
        said["events"].append(event)
        if event["event_descriptor"]["modification_number"] == 1:
            print("told", file=sys.stderr, flush=True)
        if event["event_descriptor"]["event_status"] == "cancelled":
            seen.set()
        return "optIn"

    client.add_handler("on_event", on_event)
    client.add_handler("on_update_event", on_event)
    client.add_report(
        callback=lambda: 2.5, resource_id="house", measurement="REAL_POWER", scale="k", report_name="TELEMETRY_USAGE",
        report_type="usage", sampling_rate=timedelta(seconds=1), report_duration=timedelta(seconds=60),
    )  # fmt: skip
    await client.run()
    said["ven_id"], said["registration_id"] = client.ven_id, client.registration_id
    said["poll_s"] = client.poll_frequency.total_seconds()
    said["reports"] = [one["r_ids"] for one in client.report_requests]
    opt = await client.create_opt(
        "optOut", "economic", [Target(ven_id=client.ven_id)], event_id=asked["event"], modification_number=0
    )
    said["opts"] += [bool(opt), await client.cancel_opt(opt) if opt else False]
    print("ready", file=sys.stderr, flush=True)
    try:
        await asyncio.wait_for(seen.wait(), 40)
    finally:
        await client.cancel_party_registration()
        said["after"] = client.registration_id
        await client.stop()
    print(json.dumps(said, default=str))


asyncio.run(main())
