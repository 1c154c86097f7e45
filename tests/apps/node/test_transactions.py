"""Transactions as adapters tell of them, also those whose answers make no sense, or never end."""

from types import SimpleNamespace

import pytest

from gridspine.apps.node.transactions import Transactions
from gridspine.energy.models import load_models
from gridspine.kernel.errors import TooLarge, Unavailable

THING = SimpleNamespace(id="urn:x:c", adapter="ocpp", title="C")


class Asked:
    """An adapter that answers by ``answer``, a function of what it is given."""

    def __init__(self, answer):
        self.answer, self.count = answer, 0

    async def ask(self, thing, action, given, principal):
        self.count += 1
        return self.answer(given)


def asked(answer):
    requests = Asked(answer)
    directory = SimpleNamespace(model=lambda _: load_models()["ev_charger"])
    return Transactions(directory, requests), requests


async def test_signed_values_are_put_together_from_pages() -> None:
    kept, _ = asked(
        lambda given: {"values": [given["from"]], **({"next": given["from"] + 1} if given["from"] < 2 else {})}
    )
    assert await kept.signed_values(THING, "1") == [0, 1, 2]


@pytest.mark.parametrize("answer", [None, {}, {"values": 1}, {"values": [], "next": "x"}])
async def test_an_answer_that_makes_no_sense_is_said_to(answer) -> None:
    kept, _ = asked(lambda _: answer)
    with pytest.raises(Unavailable, match="makes no sense"):
        await kept.signed_values(THING, "1")


async def test_an_adapter_that_never_ends_is_asked_so_often_and_no_more() -> None:
    kept, requests = asked(
        lambda given: {"values": [], "next": given["from"] + 1} if given["from"] < 5_000 else {"values": []}
    )
    with pytest.raises(TooLarge):
        await kept.signed_values(THING, "1")
    assert requests.count == 1_000
