"""Questions asked on a machine of its own, a line each: ``inside.py node FOLDER`` or ``inside.py device PORT``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def node(folder: str) -> Callable[[Any], Any]:
    """Answer ``[path, body or null]`` with what the node says, null when it says nothing."""
    import httpx

    from gridspine.apps.cli.keys import read_client_file
    from gridspine.apps.cli.signing import SigningAuth

    url = "http://127.0.0.1:8600"
    file = read_client_file(Path(folder) / "clients" / "operator.json")

    def ask(question: Any) -> Any:
        path, body = question
        with httpx.Client(base_url=url, auth=SigningAuth(file, node=url), timeout=30, verify=False) as http:
            try:
                answer = http.get(path) if body is None else http.post(path, json=body)
            except httpx.HTTPError:
                return None
        return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text

    return ask


def device(port: str) -> Callable[[Any], Any]:
    """Answer anything with ``[in force, set-point]`` of SunSpec model 704, read over Modbus."""
    from pymodbus.client import ModbusTcpClient

    from gridspine.adapters.modbus.layout import load_layout

    layout = load_layout(704)
    assert layout is not None

    def look(_: Any) -> Any:
        client = ModbusTcpClient("127.0.0.1", port=int(port))
        assert client.connect()

        def read(at: int, count: int) -> list[int]:
            return client.read_holding_registers(at, count=count, device_id=1).registers

        at = 40002
        while (head := read(at, 2))[0] != 704:
            assert head[0] != 0xFFFF
            at += head[1] + 2
        high, low = read(at + layout.points["WSet"].offset, 2)
        value = high << 16 | low
        enabled = read(at + layout.points["WSetEna"].offset, 1)[0]
        client.close()
        return [enabled == 1, value - (1 << 32) if value >> 31 else value]

    return look


def main() -> None:
    answer = {"node": node, "device": device}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
