"""Make ``data-<release>.tar.zst``: a small data directory as a release wrote it, which later ones must open.

Run it once for each release, with that release's own code, and commit what it wrote beside it::

    git worktree add ../release <tag or commit>
    PYTHONPATH=../release/src python tests/data/make_release_data.py 0.1.0

The first of them, 0.1.0, is of commit 6632c27. The keys inside belong to nobody but these tests.
"""

import asyncio
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import httpx
import zstandard

from gridspine.apps.node.run import start
from gridspine.infra.archive.published import read_published
from gridspine.infra.runtime.settings import Archive, Http, Log, Settings

METER, BATTERY = "https://gridspine.org/models/meter", "https://gridspine.org/models/battery"
ROLES = ("administrator", "operator", "owner", "consumer", "auditor")
BEGIN_S = 1_700_000_000
SENML = {"content-type": "application/senml+json"}
LEFT_OUT = {"lock", "ballast", "address"}


async def check(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


async def fill(node: Any, op: httpx.AsyncClient, co: httpx.AsyncClient) -> dict[str, Any]:
    """Let a node have some of everything; return what a later release must show."""
    for id_, model in (("urn:example:m1", METER), ("urn:example:b1", BATTERY)):
        await check(await op.post("/things", json={"id": id_, "title": id_, "model": model}))
    energy, voltage = "urn:example:m1/activeEnergyImport", "urn:example:m1/voltage"
    rows = [{"n": energy, "v": 100.0 * at, "t": BEGIN_S + at} for at in range(200)]
    rows += [{"n": voltage, "v": value, "t": BEGIN_S + at} for at, value in enumerate((230.0, 300.0))]
    await check(await op.post("/readings", json=rows, headers=SENML))
    await check(await op.post("/readings", json=[{"n": energy, "v": 5.0, "t": BEGIN_S}], headers=SENML))  # a revision
    nowhere = [{"n": "urn:example:nowhere/x", "v": 1, "t": BEGIN_S}]
    await op.post("/readings", json=nowhere, headers=SENML)
    contract = {"licence": "MIT", "purposes": ["a"]}
    product = (await check(await op.post("/products", json={"title": "P", "points": [energy], "contract": contract})))[
        "id"
    ]
    asked = {"product": product, "purpose": "a", "until": "2100-01-01T00:00:00Z"}
    grant = (await check(await co.post("/grants", json=asked)))["id"]
    await check(await op.post(f"/grants/{grant}/approve"))
    wanted = {"thing": "urn:example:b1", "point": "activePowerSetpoint", "value": 100, "durationS": 3600}
    command = (await check(await op.post("/commands", json=wanted)))["id"]
    await check(await op.post("/all-stop", json={"reason": "kept"}))
    while not (receipts := (await op.get("/receipts", params={"subject": command})).json()):
        await asyncio.sleep(0.05)
    following = node.log.bounds("readings")[0][1]
    while read_published(node.paths.archive).offsets.get(0, 0) < following:
        await asyncio.sleep(0.05)
    late = [{"n": energy, "v": 100.0 * at, "t": BEGIN_S + at} for at in range(200, 220)]
    await check(await op.post("/readings", json=late, headers=SENML))
    receipt = await check(await op.get(f"/receipts/{receipts[0]['id']}"))
    return {
        "product": product, "grant": grant, "command": command, "energy": energy, "voltage": voltage,
        "readings": 223, "newest": {"activeEnergyImport": 21900.0, "voltage": 300.0}, "first": 5.0,
        "ledger_key": (await op.get("/ledger/key")).text, "checkpoint": (await op.get("/ledger/checkpoint")).text,
        "receipt": receipt, "bound": len(node.points),
    }  # fmt: skip


async def make(data: Path) -> dict[str, Any]:
    settings = Settings(
        organisation="Northside Networks", demo=True, http=Http(port=0), log=Log(reserve_bytes=1 << 20),
        archive=Archive(flush_seconds=0.5),
    )  # fmt: skip
    running = await start(settings, data)
    node = running.node
    directory = node.identity.directory
    directory.add_organisation("brightfield", "Brightfield")
    clients, ids = [], []
    for organisation in ("northside-networks", "brightfield"):
        made = directory.add_principal(organisation, "application", "c", ROLES)
        headers = {"Authorization": f"Bearer {node.identity.demo.issue(made.id) if node.identity.demo else ''}"}
        clients.append(httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30))
        ids.append(made.id)
    try:
        return await fill(node, *clients) | {"operator": ids[0], "consumer": ids[1]}
    finally:
        for client in clients:
            await client.aclose()
        await running.stop()


def main(release: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        expected = asyncio.run(make(data))
        (data / "expected.json").write_text(json.dumps(expected, indent=1))
        target = Path(__file__).parent / f"data-{release}.tar.zst"
        with (
            target.open("wb") as file,
            zstandard.ZstdCompressor(level=19).stream_writer(file) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            for path in sorted(data.rglob("*")):
                if path.is_file() and path.name not in LEFT_OUT:
                    archive.add(path, str(path.relative_to(data)))
        print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
