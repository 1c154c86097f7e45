"""Who the node is at a VTN that keeps one VEN for each client, and lets it change little."""

import json

import httpx
import pytest

from gridspine.adapters.openadr3.remote import read_connection
from gridspine.adapters.openadr3.remote_call import Remote, Said
from gridspine.adapters.openadr3.remote_ven import find_ven, targets_of
from gridspine.kernel.errors import Invalid

OURS = {"id": "v1", "venName": "household-7", "clientID": "me", "targets": ["feeder-3"]}
OTHER = {"id": "v2", "venName": "household-8", "clientID": "another", "targets": ["feeder-4"]}


class OneEach(Remote):
    """A VTN that refuses another VEN of a client that has one."""

    def __init__(self, *vens):
        self._lists, self.vens, self.resources = {}, list(vens), []

    async def ask(self, method, path, body=None, tag=""):
        path, _, query = path.partition("?")
        kept = self.vens if path == "/vens" else self.resources
        if method == "POST":
            if path == "/vens":
                raise Invalid("the VTN refuses POST /vens with 409: Conflict")
            kept.append({"id": "r1", "targets": [], **body})
            return Said(201, httpx.Headers(), json.dumps(kept[-1]).encode())
        wanted = {name: value for name, value in httpx.QueryParams(query).items() if name not in {"skip", "limit"}}
        found = [one for one in kept if wanted.items() <= one.items()]
        return Said(200, httpx.Headers(), json.dumps(found).encode())


def connection(**more):
    return read_connection({"vtn": "https://v.example.org", "clientId": "me", "secret": "s", **more})


async def test_the_ven_that_is_kept_for_our_client_is_ours_by_whatever_name():
    vtn = OneEach(OTHER, OURS)
    id_, words = await find_ven(vtn, connection(venName="home"))
    assert id_ == "v1"
    assert words == {"home", "household-7", "feeder-3"}
    assert [(one["venID"], one["resourceName"]) for one in vtn.resources] == [("v1", "home")]


async def test_a_ven_of_another_client_is_not_ours():
    with pytest.raises(Invalid, match="409"):
        await find_ven(OneEach(OTHER), connection(venName="home"))


def test_words_are_read_in_both_editions_and_what_is_none_is_left_out():
    documents = [
        {"targets": ["a", 7, None, ["b"]]}, {"targets": [{"type": "GROUP", "values": ["c", 8]}, {"values": "d"}]},
        {"targets": "e"}, {"targets": None}, {},
    ]  # fmt: skip
    assert targets_of(documents) == {"a", "c"}
