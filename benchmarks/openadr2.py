"""OpenADR 2.0b: how many polls of VENs a VTN answers over mutual TLS, with all that it knows of them durable.

``uv run python benchmarks/openadr2.py [--short]``. VENs are a process of their own; each is registered, was told of an
event and has answered it, and polls again and again on a connection that stays.
"""

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
import time
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from ieee2030_5 import Asking, Key, issue, shown
from rig import SETTINGS, Rig, child, report

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import wire
from gridspine.apps.cli.connect import check

VENS, PORT, METER = 40, 18644, "https://gridspine.org/models/meter"
PATH = "/OpenADR2/Simple/2.0b"


def settings(folder: Path) -> str:
    """Return the settings of a node that is a VTN."""
    return SETTINGS + "\n".join((
        "[adapters]", 'allow = ["openadr2"]', "[adapters.settings.openadr2.vtn]", f"port = {PORT}", "tls = true",
        'client = "required"', f'ca = ["{folder}/ca.pem"]', f'certificate = "{folder}/server.pem"',
        f'key = "{folder}/server.pem"', "",
    ))  # fmt: skip


def register(rig: Rig, folder: Path, ca: tuple[x509.Certificate, Key]) -> None:
    """Make the VENs and a programme with an event that all of them take part in."""
    body = {"title": "Peaks", "modes": ["targetW"]}
    programme = check(rig.operator.post("/programmes", json=body)).json()["id"]
    for number in range(VENS):
        certificate, _ = issue(folder, f"device{number}", ca)
        asked = {"kind": "device", "name": f"ven-{number}", "roles": ["device"]}
        principal = check(rig.operator.post("/principals", json=asked)).json()["id"]
        pem = certificate.public_bytes(Encoding.PEM).decode()
        check(rig.operator.post(f"/principals/{principal}/known-certificates", json={"certificate": pem}))
        thing = {"title": "VEN", "model": METER, "adapter": "openadr2", "devices": [principal]}
        thing |= {"id": f"urn:example:ven-{number}", "connection": {"venID": f"ven-{number}"}}
        check(rig.operator.post("/things", json=thing))
        enrolled = {"thing": thing["id"], "until": "2099-01-01T00:00:00Z"}
        check(rig.operator.post(f"/programmes/{programme}/enrolments", json=enrolled))
    begin = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    interval = {"from": begin.isoformat(), "until": (begin + datetime.timedelta(hours=1)).isoformat()}
    event = {"title": "Peak", "intervals": [{**interval, "control": {"targetW": 2500}}]}
    check(rig.operator.post(f"/programmes/{programme}/events", json=event))


def begin(folder: Path, number: int) -> None:
    """Register a VEN, and answer its event."""
    with httpx.Client(base_url=f"https://127.0.0.1:{PORT}{PATH}", verify=shown(folder, number)) as http:

        def say(service: str, message: m.Message) -> m.Message:
            answer = http.post(f"/{service}", content=wire.write(message), headers={"content-type": wire.MEDIA})
            return wire.read(answer.raise_for_status().content)

        made = say("EiRegisterParty", m.CreatePartyRegistration(request_id="1", http_pull=True))
        told = say("EiEvent", m.RequestEvent(request_id="2", ven_id=made.ven_id))
        answers = tuple(
            m.EventResponse(
                request_id="2", opt="optIn",
                event=m.QualifiedEvent(event_id=one.event.descriptor.event_id, modification_number=0),
            )
            for one in told.events
        )  # fmt: skip
        assert len(answers) == 1, told
        answered = m.CreatedEvent(response=m.Response(request_id="2"), responses=answers, ven_id=made.ven_id)
        assert say("EiEvent", answered).response.code == 200


class Polling(Asking):
    """A VEN's connection: it polls, and again when it was answered."""

    def __init__(self, ven_id: str) -> None:
        super().__init__("")
        body = wire.write(m.Poll(ven_id=ven_id))
        head = f"POST {PATH}/OadrPoll HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {wire.MEDIA}\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(folder: Path, seconds: float) -> None:
    """Poll for so long; print what was answered."""
    for number in range(VENS):
        await asyncio.to_thread(begin, folder, number)
    loop = asyncio.get_running_loop()
    made = []
    for number in range(VENS):
        make = lambda number=number: Polling(f"ven-{number}")  # noqa: E731
        made.append((await loop.create_connection(make, "127.0.0.1", PORT, ssl=shown(folder, number)))[1])
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before, began = sum(one.answered for one in made), time.perf_counter()
    await asyncio.sleep(seconds)
    answered, took_s = sum(one.answered for one in made) - before, time.perf_counter() - began
    print(json.dumps({"answered": answered, "took_s": took_s, "bytes": made[0].length}), flush=True)


def measure(seconds: float) -> None:
    """Run the node and the VENs; report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca = issue(folder, "ca", None)
        issue(folder, "server", ca)
        with Rig(settings(folder)) as rig:
            rig.start()
            register(rig, folder, ca)
            time.sleep(1)
            with child("openadr2.py", "--load", name, str(seconds)) as vens:
                assert vens.stdin is not None and vens.stdout is not None
                assert vens.stdout.readline() == "ready\n"
                before_s = rig.cpu_s()
                vens.stdin.write("go\n")
                vens.stdin.flush()
                said = json.loads(vens.stdout.readline())
                used_s = rig.cpu_s() - before_s
    each_us = 1e6 * used_s / said["answered"]
    words = f"{VENS} VENs, registered and told; mutual TLS, connections that stay, {said['bytes']:,} bytes an answer; "
    words += f"{each_us:.0f} µs of the node's processor each, {1e6 / each_us:,.0f} polls/s by one core of it"
    report("OpenADR 2.0b, polls", "≥ 3,000", round(said["answered"] / said["took_s"]), "polls/s", words)


def main() -> None:
    """Measure, or be the VENs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--load", nargs=2, default=())
    given = parser.parse_args()
    if given.load:
        asyncio.run(load(Path(given.load[0]), float(given.load[1])))
    else:
        measure(2.0 if given.short else 6.0)


if __name__ == "__main__":
    main()
