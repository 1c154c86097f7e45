"""Connections by address: one address has its number, others keep theirs."""

from gridspine.infra.runtime.address_count import AddressCount


def test_an_address_has_its_number_and_no_more():
    count = AddressCount(2)
    assert [count.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert count.enter("192.0.2.2")
    count.leave("192.0.2.1")
    assert count.enter("192.0.2.1")
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        count.leave(address)
    assert not count._open, "who is gone takes no room"


def test_a_host_with_many_ipv6_addresses_is_one():
    count = AddressCount(1)
    assert count.enter("2001:db8::1")
    assert not count.enter("2001:db8::ffff:2")
    assert count.enter("2001:db8:0:1::1")
    assert count.enter("::ffff:192.0.2.1")
    assert not count.enter("192.0.2.1"), "the same address, written in IPv6"
    assert count.enter("unknown")
