"""Where strangers may send the node: to no address of its own, and to none at which a cloud tells its secrets."""

import ipaddress
import socket

import psutil
import pytest

from gridspine.infra.runtime import address_rule
from gridspine.infra.runtime.address_rule import Address, AddressRule, is_own

RULE = AddressRule((), (), "adapters.settings.some")


def own_addresses() -> list[Address]:
    """Return the addresses of this machine's interfaces."""
    found = (one for many in psutil.net_if_addrs().values() for one in many)
    return [
        ipaddress.ip_address(one.address.partition("%")[0])
        for one in found
        if one.family in {socket.AF_INET, socket.AF_INET6}
    ]


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "240.0.0.1",
     "::ffff:127.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "::ffff:100.64.0.1", "fd00:ec2::254",
     "fd20:ce::254"],
)  # fmt: skip
def test_some_addresses_are_refused_unless_the_settings_allow_them(text: str) -> None:
    ip = ipaddress.ip_address(text)
    plain = getattr(ip, "ipv4_mapped", None) or ip
    assert not RULE.permits(ip)
    assert AddressRule((f"{plain}",), (), "s").permits(ip)
    assert AddressRule((), (f"{plain}",), "s").permits(ip)


@pytest.mark.parametrize(
    "text", ["192.0.2.7", "198.51.100.1", "2001:db8::7", "100.63.0.1", "100.128.0.1", "fd00:ec2::1"]
)
def test_others_are_not(text: str) -> None:
    assert RULE.permits(ipaddress.ip_address(text))


@pytest.mark.parametrize("nonlocal_bind", [False, True])
def test_the_machine_s_own_addresses_are_known_whatever_its_network(
    nonlocal_bind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some machines let a program take any address: there it is asked in another way."""
    if nonlocal_bind:
        monkeypatch.setattr(address_rule, "_takes", lambda _: True)
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("192.0.2.7"))
    assert not is_own(ipaddress.ip_address("2001:db8::7"))
    for ip in own_addresses():
        assert not RULE.permits(ip), ip
