"""A key's header is one that only carries it."""

import pytest

from gridspine.infra.runtime.header_name import carries_a_key


@pytest.mark.parametrize("name", ["X-Key", "Authorization", "api_key", "hosts", "x-host", "a" * 64])
def test_a_header_may_carry_a_key(name: str) -> None:
    assert carries_a_key(name)


@pytest.mark.parametrize(
    "name",
    ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade",
     "Proxy-Authorization", "Proxy-Connection", "Cookie", "Set-Cookie", "Expect", "", "a b", "a:b", "x\r\ny", "x\n",
     "ключ", "a" * 65],
)  # fmt: skip
def test_a_header_that_steers_the_request_or_is_no_name_may_not(name: str) -> None:
    assert not carries_a_key(name)
