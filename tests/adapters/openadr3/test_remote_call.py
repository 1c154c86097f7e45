"""Lists of somebody else's VTN, which change while they are read."""

import json

import httpx
import pytest

from gridspine.adapters.openadr3.remote_call import Remote, Said, token_of
from gridspine.kernel.errors import Invalid


class Changing(Remote):
    """A VTN with 60 events, of which one is removed after the first page was asked for first."""

    def __init__(self):
        self._lists, self.ids, self.asked = {}, [f"e{n}" for n in range(60)], 0

    async def ask(self, method, path, body=None, tag=""):
        asked = httpx.QueryParams(path.partition("?")[2])
        skip, limit = int(asked["skip"]), int(asked["limit"])
        page = [{"id": id_} for id_ in self.ids[skip : skip + limit]]
        self.asked += 1
        if self.asked == 1:
            self.ids.remove("e7")
        return Said(200, httpx.Headers(), json.dumps(page).encode())


async def test_what_stands_is_not_missed_when_another_is_removed_between_two_pages():
    found = {one["id"] for one in await Changing().all("/events")}
    assert "e50" not in found, "it moved to the page that was read"
    vtn = Changing()
    found = {one["id"] for one in await vtn.whole("/events", [f"e{n}" for n in range(60)])}
    assert set(vtn.ids) <= found
    vtn.asked = 1
    assert {one["id"] for one in await vtn.whole("/events", found)} == set(vtn.ids), "then it is gone"


async def test_a_list_that_has_all_that_is_known_is_read_once():
    vtn = Changing()
    await vtn.whole("/events", ["e1", "e2"])
    assert vtn.asked == 2


@pytest.mark.parametrize(
    ("expires", "holds_s"), [("3600", 3600.0), ("null", 300.0), ("0", 300.0), ("1e300", 86_400.0), ('"60"', 60.0)]
)
def test_how_long_a_token_holds_is_bounded(expires, holds_s):
    assert token_of(b'{"access_token": "t", "expires_in": %s}' % expires.encode()) == ("t", holds_s)


@pytest.mark.parametrize("expires", ["9" * 400, '"soon"', "[1]", "1e999"])
def test_a_token_for_a_time_that_is_none_is_none(expires):
    with pytest.raises(Invalid):
        token_of(b'{"access_token": "t", "expires_in": %s}' % expires.encode())
