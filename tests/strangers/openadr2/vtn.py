"""A VTN by openleadr: registers one VEN, asks for its reports, has an event done, one refused and one cancelled.

Says as JSON what came of it. Its service for opts is not implemented there, nor served.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from openleadr import OpenADRServer, objects

asked = json.load(sys.stdin)
VEN, REGISTRATION = "ven-of-openleadr", "registration-1"


def intervals(*values):
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=2)
    lasts = timedelta(minutes=10)
    return [
        {"dtstart": now + at * lasts, "duration": lasts, "signal_payload": value} for at, value in enumerate(values)
    ]


def publish(server, on_opt):
    market = "https://utility.example/peaks"
    signal = objects.EventSignal(
        intervals=intervals(1.5, 0.5), signal_name="LOAD_DISPATCH", signal_type="setpoint", signal_id="s",
        measurement=objects.Measurement(
            name="powerReal", description="RealPower", unit="W", scale="k",
            power_attributes=objects.PowerAttributes(hertz=50, voltage=230, ac=True),
        ),
    )  # fmt: skip
    described = objects.EventDescriptor(
        event_id="dispatch", modification_number=0, market_context=market, event_status="far",
        created_date_time=datetime.now(UTC),
    )  # fmt: skip
    period = objects.ActivePeriod(dtstart=signal.intervals[0]["dtstart"], duration=timedelta(minutes=20))
    event = objects.Event(
        active_period=period, event_descriptor=described, event_signals=[signal], targets=[{"ven_id": VEN}],
        response_required="always",
    )  # fmt: skip
    server.add_raw_event(VEN, event, callback=on_opt)
    server.add_event(
        VEN, "ELECTRICITY_PRICE", "price", intervals(0.25), callback=on_opt, event_id="price", market_context=market
    )


async def main():
    said = {"registrations": [], "offers": [], "values": {}, "opts": []}
    state = {"known": None}
    met = {name: asyncio.Event() for name in ("registered", "answered", "reported")}

    def lookup(ven_id):
        return state["known"] if ven_id == VEN else None

    def on_registration(payload):
        said["registrations"].append(payload)
        state["known"] = {
            "ven_id": VEN, "ven_name": payload["ven_name"], "fingerprint": payload["fingerprint"],
            "registration_id": REGISTRATION,
        }  # fmt: skip
        met["registered"].set()
        return VEN, REGISTRATION

    def on_offer(ven_id, resource_id, measurement, unit, scale, min_sampling_interval, max_sampling_interval):
        said["offers"].append((ven_id, resource_id, measurement, unit, scale))

        def on_values(values):
            said["values"].setdefault(measurement, []).extend(value for _, value in values)
            met["reported"].set()

        return on_values, timedelta(seconds=2)

    async def on_opt(ven_id, event_id, opt_type):
        said["opts"].append((event_id, opt_type))
        if len(said["opts"]) == 2:
            met["answered"].set()

    server = OpenADRServer(
        vtn_id="OPENLEADR", cert=asked["cert"], key=asked["key"], http_cert=asked["cert"], http_key=asked["key"],
        http_ca_file=asked["ca"], http_host="127.0.0.1", http_port=asked["port"], ven_lookup=lookup,
        requested_poll_freq=timedelta(seconds=1), verify_message_signatures=asked["signed"], show_fingerprint=False,
        show_server_cert_domain=False,
    )  # fmt: skip
    server.add_handler("on_create_party_registration", on_registration)
    server.add_handler("on_register_report", on_offer)
    publish(server, on_opt)
    await server.run()
    print("ready", file=sys.stderr, flush=True)
    try:
        async with asyncio.timeout(100):
            for one in met.values():
                await one.wait()
            print("met", file=sys.stderr, flush=True)
            server.cancel_event(VEN, "dispatch")
            while any(one.event_descriptor.event_id == "dispatch" for one in server.events[VEN]):
                await asyncio.sleep(0.05)
            state["known"] = None  # it is known no more, and has to register again
            while len(said["registrations"]) < 2:
                await asyncio.sleep(0.05)
    finally:
        print(json.dumps(said, default=str), flush=True)
        await server.stop()


asyncio.run(main())
