"""Parts of roaming by themselves: costs, ceilings, what is kept, and where tokens may go."""

import types

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ocpi.book import Book, Kept, Partner, hash_of
from gridspine.adapters.ocpi.claim import Claims, bound
from gridspine.adapters.ocpi.client import Client, PartnerError, origin_of
from gridspine.adapters.ocpi.command import ChargingProfile, ChargingProfilePeriod
from gridspine.adapters.ocpi.cost import costs, total
from gridspine.adapters.ocpi.cpo_profiles import ceiling
from gridspine.adapters.ocpi.credentials import Credentials, CredentialsRole
from gridspine.adapters.ocpi.registration import INVITED_S, Registration
from gridspine.adapters.ocpi.settings import PublishedEvse, read_settings
from gridspine.adapters.ocpi.tariff import PriceComponent, TariffElement
from gridspine.adapters.ocpi.wire import OcpiError, Party, plain, read, read_parties
from gridspine.adapters.ocpi.words import BusinessDetails, place_of
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.testing.node import DictStore, FakeNode

NOW = 1_770_000_000 * US
GOOD = {"country_code": "NL", "party_id": "GSP", "name": "x", "plain": True, "allow": ["127.0.0.0/8"]}


def element(*parts):
    return TariffElement(tuple(PriceComponent(*part) for part in parts))


def test_a_session_costs_whole_steps_and_the_first_price_of_a_kind() -> None:
    elements = [element(("ENERGY", 0.25, 1000, 10.0), ("FLAT", 1.0, 1, 20.0)), element(("ENERGY", 9.0, 1))]
    found = costs(elements, 4_200.0, 3600.0)
    assert found["ENERGY"].before == pytest.approx(5 * 0.25), "4.2 kWh in steps of 1 kWh"
    old, new = total(found.values()).price("2.2.1"), total(found.values()).price("2.3.0")
    assert (old.excl_vat, old.incl_vat) == (2.25, pytest.approx(2.25 + 0.125 + 0.2))
    assert [(tax.percentage, tax.amount) for tax in new.taxes] == [(10.0, 0.125), (20.0, 0.2)]
    assert costs([element(("TIME", 2.0, 300))], 0, 3601)["TIME"].before == pytest.approx(2.0 * 3900 / 3600)
    untaxed = total(costs([element(("FLAT", 1.0, 1))], 0, 0).values())
    assert untaxed.price("2.2.1").incl_vat is None, "a tariff that says nothing of tax"
    assert total([]).price("2.2.1").excl_vat == 0


@given(st.floats(0, 2e5), st.floats(0, 2e5), st.integers(1, 5000))
def test_more_energy_never_costs_less(one: float, other: float, step: int) -> None:
    low, high = sorted((one, other))
    price = [element(("ENERGY", 0.3, step))]
    assert costs(price, low, 0)["ENERGY"].before <= costs(price, high, 0)["ENERGY"].before + 1e-9


def profile(*periods, unit="A", duration=600, start=None):
    made = tuple(ChargingProfilePeriod(*one) for one in periods)
    return ChargingProfile(unit, start, duration, charging_profile_period=made)


def test_a_profile_is_a_ceiling_in_the_points_unit_from_now_on() -> None:
    evse = PublishedEvse("urn:a")
    found = ceiling(profile((0, 16), (300, 8)), evse, "currentLimit", NOW)
    assert (found.from_us, found.until_us) == (NOW, NOW + 600 * US)
    assert found.steps == ((NOW, 16), (NOW + 300 * US, 8))
    watts = ceiling(profile((0, 6900), unit="W"), evse, "currentLimit", NOW)
    assert watts.steps[0][1] == pytest.approx(10.0), "three phases of 230 V"
    assert ceiling(profile((0, 10)), evse, "activePowerLimit", NOW).steps[0][1] == pytest.approx(6900.0)
    single = PublishedEvse("urn:a", power_type="AC_1_PHASE")
    assert ceiling(profile((0, 2300), unit="W"), single, "currentLimit", NOW).steps[0][1] == pytest.approx(10.0)
    begun = ceiling(profile((0, 16), (300, 8), start="2026-02-02T02:35:00"), evse, "currentLimit", NOW)
    assert (begun.from_us, begun.until_us) == (NOW, NOW + 300 * US), "five minutes of it are over"
    assert begun.steps == ((NOW, 8.0),)


@pytest.mark.parametrize("wrong", [
    profile(), profile((5, 1)), profile((0, 1), (0, 2)), profile((0, 1), (20, 2), (10, 3)), profile((0, -1)),
    profile((0, 6), start="2020-01-01T00:00:00Z"),
])  # fmt: skip
def test_a_profile_that_says_nothing_is_refused(wrong) -> None:
    with pytest.raises(OcpiError):
        ceiling(wrong, PublishedEvse("urn:a"), "currentLimit", NOW)


def said_ceiling(limit: str):
    said = f'{{"charging_rate_unit":"A","charging_profile_period":[{{"start_period":0,"limit":{limit}}}]}}'
    return ceiling(read(plain(said.encode()), ChargingProfile), PublishedEvse("urn:a"), "activePowerLimit", NOW)


@pytest.mark.parametrize("limit", ["1e308", "1e999", "-1e999", "9" * 400, "NaN", '"6"'])
def test_a_ceiling_that_no_number_can_be_is_refused(limit: str) -> None:
    assert said_ceiling("6").steps[0][1] == pytest.approx(4140.0)
    with pytest.raises(OcpiError) as caught:  # what a float can be in ampere may be none in watt
        said_ceiling(limit)
    assert caught.value.status_code == 2001


async def test_what_is_kept_is_there_after_a_restart_and_no_token_that_is_only_checked() -> None:
    store = DictStore()
    book = Book(store, 2)
    await book.keep(Partner("urn:p", shown=hash_of("theirs"), token="ours", since_us=1))
    place = ("urn:p", "tokens", "de", "msp")
    await book.keep_object(place, Kept("RFID:a/b", {"uid": "a/b"}, 5))
    await book.keep_object(place, Kept("RFID:c", {}, 6))
    with pytest.raises(Overloaded):
        await book.keep_object(place, Kept("RFID:d", {}, 7))
    assert b"theirs" not in b"".join(store.content.values())
    again = Book(store, 2)
    await again.load()
    found = again.by_token(("nothing", "theirs"))
    assert found is not None
    assert (found[0].token, found[1]) == ("ours", "shown")
    kept = again.object(("urn:p", "tokens", "DE", "MSP"), "rfid:A/B")
    assert kept is not None
    assert kept.body == {"uid": "a/b"}
    assert again.full("urn:p", "tokens")
    await again.keep(Partner("urn:p"))
    assert again.by_token(("theirs",)) is None
    await again.forget_all("urn:p", ["tokens"])
    assert [key for key in store.content if key.startswith("object/")] == []


@pytest.mark.parametrize("url", [
    "ftp://a/", "https://user:pw@a/", "https:///x", "https://a:0/", "nonsense", "https://a b/", "https://bücher.example/",
    "https://a:99999/", "https://a/\x00",
])  # fmt: skip
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(Invalid):
        origin_of(url)


async def test_nothing_is_sent_in_plain_text_or_inside_or_on_to_elsewhere() -> None:
    node = FakeNode()
    client = Client(node, read_settings({**GOOD, "plain": False}))
    with pytest.raises(Invalid, match="https"):
        await client.call("GET", "http://127.0.0.1:1/", "t")
    await client.close()
    inside = Client(node, read_settings({**GOOD, "allow": []}))
    with pytest.raises(Invalid, match="allow"):
        await inside.call("GET", "http://127.0.0.1:1/", "t")
    await inside.close()
    pages = Client(node, read_settings(GOOD))
    answers = [([], httpx.Headers({"link": '<http://elsewhere.example/2>; rel="next"'}))]
    pages._ask = types.MethodType(lambda *_: _answered(answers), pages)
    with pytest.raises(PartnerError, match="elsewhere"):
        assert [page async for page in pages.pages("http://127.0.0.1:1/", "t")] == [[]]
    await pages.close()


async def _answered(answers):
    return answers[0]


async def test_an_invitation_counts_for_some_days() -> None:
    clock = VirtualClock()
    node = FakeNode(clock=clock)
    settings = read_settings(GOOD)
    book, client = Book(node.store, 2), Client(node, settings)
    registration = Registration(book, client, settings, clock)
    invitation = await registration.invite("urn:p", read_parties("DE MSP"))
    found = book.by_token((invitation["token"],))
    assert found is not None
    assert registration.counts(found[0], found[1])
    clock.step_wall(INVITED_S + 1)
    assert not registration.counts(found[0], found[1])
    assert registration.counts(found[0], "shown")
    await client.close()


def test_partners_of_another_organisation_keep_nobody_out() -> None:
    book, clock = Book(DictStore(), 2), VirtualClock()
    claims = Claims(book, Party("NL", "CPO"), clock)
    role = CredentialsRole("EMSP", BusinessDetails("x"), "MSP", "DE")
    book._put(Partner("urn:theirs", "", "s", "", "t", "http://x/", "2.2.1", (), (role,), 1, 0, (role.party,)))
    with pytest.raises(Conflict, match="urn:theirs"):
        claims.free("urn:ours", [Party("de", "msp")])
    claims.organisation = lambda thing: thing
    claims.free("urn:ours", [Party("de", "msp")])
    given = Credentials("t", "http://x/", (role,))
    nobody = Partner("urn:ours", invitation="i", invited_until_us=1 << 60)
    with pytest.raises(Conflict, match="not invited as that"):
        claims.check(nobody, given, invited=True)
    claims.check(nobody, given)
    assert bound(nobody, given) == (Party("DE", "MSP"),)
    more = Credentials("t", "http://x/", (role, CredentialsRole("CPO", BusinessDetails("y"), "NEW", "DE")))
    roles, problem = claims.roles(book.partner("urn:theirs"), more)
    assert (roles, "it claims to be DE NEW, and is known as another" in problem) == ((role,), True)
    assert claims.roles(Partner("urn:ours", parties=(Party("FR", "ABC"),)), given)[0] == ()


@pytest.mark.parametrize(("said", "told"), [
    ("52.1", "52.10000"), ("-4", "-4.00000"), ("4.123456", "4.123456"), ("179.12345678", "179.1234567"),
])  # fmt: skip
def test_a_place_has_five_to_seven_decimals(said: str, told: str) -> None:
    assert place_of(said, said).longitude == told
