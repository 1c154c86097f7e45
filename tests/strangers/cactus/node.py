"""A node for CACTUS to judge: its authority, its clients, its model, and the job that says where all of it is."""

import contextlib
import json

from csip_utility import serving

MODEL = "https://example.org/models/csip-der"
PEN = 12345


def model():
    """Return a Thing Model of what CACTUS meters: any DER, of any size."""
    points = {
        "activePower": ("W", "net", -1e9, 1e9), "reactivePower": ("var", "net", -1e9, 1e9),
        "frequency": ("Hz", "none", 0, 100), "voltage": ("V", "none", 0, 1e6),
    }  # fmt: skip
    properties = {
        name: {
            "title": name, "type": "number", "unit": unit, "readOnly": True, "observable": True,
            "gs:readingType": {"unit": unit, "kind": "instantaneous", "flow": flow},
            "gs:screen": {"possibleMin": low, "possibleMax": high},
        }
        for name, (unit, flow, low, high) in points.items()
    }  # fmt: skip
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"gs": "https://gridspine.org/terms#"}],
        "@type": "tm:ThingModel", "id": MODEL, "title": "DER of CSIP-AUS", "version": {"model": "1.0.0"},
        "properties": properties,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def judged_node(folder, *, timeout_s=120):
    """Yield the file of a job, beside a node that serves it."""
    rates = folder / "rates.toml"
    rates.write_text("mirror_usage_point = 2\n")
    more = {"connection_point": "nmi", "rates_file": str(rates), "notify_allow": ["127.0.0.0/8"]}
    async with serving(folder, **more) as utility:
        answer = await utility.world.op.post("/models", json=model())
        assert answer.status_code == 201, answer.text
        clients = {}
        for number, kind in enumerate(("device", "device", "aggregator")):
            clients[f"{kind}{number}"] = await _client(utility, f"{kind}{number}", kind, number)
        job = {
            "node": utility.world.url, "token": utility.world.node.identity.demo.issue(utility.world.op_id),
            "dcap": f"{utility.url}/dcap", "ca": str(utility.pki.ca.crt), "pen": PEN, "model": MODEL,
            "rates": str(rates), "output": str(folder / "output"), "clients": clients, "timeout_s": timeout_s,
        }  # fmt: skip
        (folder / "output").mkdir()
        (folder / "job.json").write_text(json.dumps(job))
        yield folder / "job.json"


async def _client(utility, name, kind, number):
    from gridspine.adapters.ieee2030_5.identity import sfdi_of

    issued = utility.pki.device(name)
    lfdi = issued.lfdi
    found = {"certificate": str(issued.crt), "key": str(issued.pem), "pen": 99000 + number}
    if kind == "aggregator":
        found["principal"] = principal = await utility.known(issued, name)
        await utility.thing(principal, issued.lfdi, name=f"urn:example:{name}", role="aggregator", pin=0)
        found["aggregator"] = issued.lfdi
        lfdi = utility.pki.device(f"{name}-der").lfdi
    return {**found, "type": kind, "lfdi": lfdi, "sfdi": sfdi_of(lfdi)}
