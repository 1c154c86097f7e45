"""Ports that a test picks are free, below the kernel's own, and no other worker's."""

import socket
from pathlib import Path

import pytest

from tests import ports

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_every_worker_has_ports_of_its_own_below_those_of_connections():
    blocks = [ports.block(worker) for worker in ("", *(f"gw{number}" for number in range(1, ports.BLOCKS)))]
    every = [port for one in blocks for port in one]
    assert len(every) == len(set(every)) == ports.BLOCK * ports.BLOCKS
    assert max(every) < 32_768
    assert ports.block("gw0") == ports.block("")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_is_free_another_each_time_and_none_that_is_taken(monkeypatch, kind):
    first = ports.free_port(kind)
    assert first in ports.block(ports.os.environ.get("PYTEST_XDIST_WORKER", ""))
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", first))
        monkeypatch.setattr(ports, "_TURNS", iter([first, first + 1, first + 2, first + 3]))
        assert ports.free_port(kind) > first
        monkeypatch.setattr(ports, "_TURNS", iter([first]))
        with pytest.raises(OSError, match="is free"):
            ports.free_port(kind)
