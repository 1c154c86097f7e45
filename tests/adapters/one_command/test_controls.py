"""One control of a programme, published once at the node, as VENs and 2030.5 devices read it: facet by facet."""

import openadr2_vtn
import openadr3_serving
import pytest
from one_command import TRACE, Heard, complaint
from one_event import CSIP, SEP, controls, events_2, lasts_us, moment_us, payloads, programs, span_us, status_of, watts

from gridspine.apps.cli.reference_adapters import our_qualities
from gridspine.energy.programme_event import drawn
from gridspine.kernel.time import US, format_rfc3339
from gridspine.testing.facets import Fate, facets

CLAIMS = {name: said for quality in our_qualities().values() for name, said in quality.order.items()}
LIMIT_W, LATER_W, TARGET_W, DEFAULT_W = 4_737.3, 3_000.0, -2_222.6, 4_444.4


def event_of(now_us):
    """Return an event of two intervals, both to come, that begin and end amid a second."""
    begin_us = now_us // US * US + 60_400_000
    edges = [begin_us, begin_us + 600 * US, begin_us + 1_200 * US + 300_000]
    controls = {"exportLimitW": LIMIT_W, "targetW": TARGET_W}, {"exportLimitW": LATER_W}
    intervals = [
        {"from": format_rfc3339(edges[at]), "until": format_rfc3339(edges[at + 1]), "control": control}
        for at, control in enumerate(controls)
    ]
    return {"title": "Peak", "intervals": intervals, "randomiseStartS": 5}, edges


async def publish(world, subject, kind):
    """Publish a programme with a default and its event; return their ids and the event's edges."""
    body = {"title": "P", "modes": ["exportLimitW", "targetW"], "defaultControl": {"exportLimitW": DEFAULT_W}}
    programme = await post(world, "/programmes", body)
    if subject:
        await post(world, f"/programmes/{programme}/enrolments", {kind: subject, "until": "2099-01-01T00:00:00Z"})
    body, edges = event_of(world.node.clock.now_us())
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    event = await post(world, f"/programmes/{programme}/events", body, headers)
    return programme, event, body, edges


async def post(world, path, body, headers=None):
    answer = await world.op.post(path, json=body, headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["id"]


def judged(language, heard):
    """Claims are so; every other state, planted, is found to be false."""
    for facet, claim in CLAIMS[language].items():
        assert complaint(facet, claim, heard) == "", language
        for state in {"kept", "part", "lost"} - {claim.state}:
            assert complaint(facet, Fate(state, "planted"), heard), (facet, state)
    assert CLAIMS[language].keys() == facets().keys()


def numbers(heard, edges, value, start_us, end_us, fallback):
    heard.unit = {"value": 1.0, "fallback": 1.0, "start": US, "end": US}
    heard.numbers = {
        "value": (LIMIT_W, value), "start": (edges[0], start_us), "end": (edges[2], end_us),
        "fallback": (DEFAULT_W, fallback),
    }  # fmt: skip


# -- OpenADR -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "edition"), [("OpenADR 3.1", "3.1.0"), ("OpenADR 3.0.1", "3.0.1")])
async def test_an_event_of_openadr(tmp_path, language, edition) -> None:
    heard = Heard()
    async with openadr3_serving.serving(tmp_path / "data") as vtn:
        ven = await vtn.client("owner", edition=edition)
        programme, event, body, edges = await publish(vtn.world, "", "")
        answer = await ven.get("/events")
        (seen,) = answer.json()
        text = answer.text + (await ven.get("/programs")).text
        first, second = seen["intervals"]
        assert {one["units"] for one in seen["payloadDescriptors"]} == {"KW"}
        spans = [
            (begin := moment_us(one["intervalPeriod"]["start"]), begin + lasts_us(one["intervalPeriod"]["duration"]))
            for one in (first, second)
        ]
        value = payloads(first)["EXPORT_CAPACITY_LIMIT"][0] * 1e3
        fallback = DEFAULT_W if "4.4444" in text or "4444.4" in text else None
        numbers(heard, edges, value, spans[0][0], spans[1][1], fallback)
        later = payloads(second)["EXPORT_CAPACITY_LIMIT"][0] * 1e3
        whole = (spans[1][0], later) == (edges[1], LATER_W)
        target = payloads(first)["DISPATCH_SETPOINT"][0] * 1e3
        heard.states = {
            "sign": "kept" if target == pytest.approx(TARGET_W) else "lost",
            "plan": "kept" if whole else "part",
            "reverts": "kept" if spans[1][1] == edges[2] else "lost",
            "random-start": "kept" if lasts_us(seen["intervalPeriod"]["randomizeStart"]) == 5 * US else "part",
            "acknowledged": "kept" if "response" in text.lower() else "lost",
            "refused": "kept" if "response" in text.lower() else "lost",
            "trace": "kept" if TRACE in text else "lost",
        }
        newer = await post(vtn.world, f"/programmes/{programme}/events", body | {"supersedes": event})
        (then,) = (await ven.get("/events")).json()
        told = moment_us(then["modificationDateTime"]) > moment_us(seen["modificationDateTime"])
        heard.states["sequence"] = "kept" if told else "part"
        assert (await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel")).status_code == 200
        left = (await ven.get("/events")).json()
        gone = (await ven.get(f"/events/{then['id']}")).status_code == 404
        heard.states["released"] = "part" if left == [] and gone else "kept" if "cancel" in str(left) else "lost"
    judged(language, heard)


async def test_an_event_of_openadr_2(tmp_path) -> None:
    heard = Heard()
    async with openadr2_vtn.serving(tmp_path) as vtn:
        ven = await vtn.ven()
        await ven.register()
        programme, event, body, edges = await publish(vtn.world, ven.thing, "thing")
        (seen, later), text = await events_2(ven)  # two, as LOAD_DISPATCH is in the first interval only
        (value,), _ = seen.signals["x-EXPORT_CAPACITY_LIMIT"]
        (target,), _ = seen.signals["LOAD_DISPATCH"]
        ends_us = later.start_us + later.duration_us
        numbers(heard, edges, value, seen.start_us, ends_us, None)
        whole = (later.start_us, later.signals["x-EXPORT_CAPACITY_LIMIT"][0]) == (edges[1], [LATER_W])
        heard.states = {
            "sign": "kept" if target == TARGET_W else "lost",
            "plan": "kept" if whole and seen.duration_us == edges[1] - edges[0] else "part",
            "reverts": "kept" if ends_us <= edges[2] else "lost",
            "random-start": "kept" if seen.chance_us == [5 * US] else "lost",
            "trace": "kept" if TRACE in text else "lost",
        }
        assert "444.4" not in text  # the default is not told
        await ven.answer(seen, "optIn")
        heard.states["acknowledged"] = "kept" if (await ven.answer(later, "optIn")).response.code == 200 else "lost"
        await ven.answer(seen, "optOut")
        heard.states["refused"] = "part" if await vtn.opts(programme) else "lost"
        await ven.answer(seen, "optIn")
        newer = await post(vtn.world, f"/programmes/{programme}/events", body | {"supersedes": event})
        then = (await events_2(ven))[0][0]
        same = then.descriptor.event_id == seen.descriptor.event_id
        heard.states["sequence"] = "kept" if same and then.descriptor.modification_number == 1 else "part"
        assert (await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel")).status_code == 200
        gone = [(one.status, one.descriptor.modification_number) for one in (await events_2(ven))[0]]
        heard.states["released"] = "kept" if gone == [("cancelled", 2), ("cancelled", 2)] else "lost"
    judged("OpenADR 2.0b", heard)


# -- IEEE 2030.5 ---------------------------------------------------------------------------------------------------


async def respond(http, control, lfdi, status):
    from csip_utility import XML

    subject = control.find(f"{SEP}mRID").text
    body = (
        f'<DERControlResponse xmlns="{SEP[1:-1]}"><createdDateTime>1700000000</createdDateTime>'
        f"<endDeviceLFDI>{lfdi}</endDeviceLFDI><status>{status}</status><subject>{subject}</subject></DERControlResponse>"
    )
    return (await http.post(control.get("replyTo"), content=body, headers=XML)).status_code


def drawn_by(node, programme, event):
    """Return what chance took of an event for the one who is enrolled."""
    known = node.controls.programmes.get(programme)
    (enrolment,) = node.controls.enrolments.seen(known, known.organisation)
    return drawn(node.controls.programmes.event(programme, event), enrolment.id)


async def test_a_control_of_2030_5(tmp_path) -> None:
    from csip_device import device
    from csip_utility import href, serving, until, xml

    heard = Heard()
    async with serving(tmp_path) as utility:
        thing, http, path, issued = await device(utility)
        programme, event, body, edges = await publish(utility.world, thing, "thing")

        async def both():
            found = await controls(http, path)
            return found if len(found) == 2 else None

        first, second = sorted(await until(both), key=span_us)
        (program,) = [one async for one, _ in programs(http, path)]
        base = first.find(f"{SEP}DERControlBase")
        default = xml(await http.get(href(program, "DefaultDERControlLink")))
        limit, later = (one.find(f"{SEP}DERControlBase/{CSIP}opModExpLimW") for one in (first, second))
        told = default.find(f"{SEP}DERControlBase/{CSIP}opModExpLimW")
        delay_us = drawn_by(utility.world.node, programme, event).delay_us
        numbers(heard, edges, watts(limit), span_us(first)[0] - delay_us, span_us(second)[1], watts(told))
        target, begins_us = base.find(f"{SEP}opModTargetW"), span_us(second)[0]
        text = "".join([(await http.get(link.get("href"))).text for link in (first, second)])
        chance = first.find(f"{SEP}randomizeStart")
        heard.states = {
            "sign": "lost" if target is None else "kept" if abs(watts(target) + TARGET_W) <= 1 else "lost",
            "plan": "kept" if abs(begins_us - delay_us - edges[1]) < US and watts(later) == LATER_W else "part",
            "reverts": "kept" if span_us(second)[1] > span_us(second)[0] else "lost",
            "trace": "kept" if TRACE in text else "lost",
        }
        answered = [await respond(http, first, issued.lfdi, status) for status in (1, 4)]
        heard.states["acknowledged"] = "kept" if answered[0] == 201 else "lost"
        enrolment = (await utility.world.op.get(f"/programmes/{programme}/enrolments")).json()[0]
        heard.states["refused"] = "part" if enrolment["optOuts"] else "lost"
        assert await respond(http, first, issued.lfdi, 5) == 201
        newer = await post(utility.world, f"/programmes/{programme}/events", body | {"supersedes": event})

        async def four():
            found = await controls(http, path)
            return found if len(found) == 4 else None

        statuses = sorted(status_of(one) for one in await until(four))
        heard.states["sequence"] = "kept" if statuses == [0, 0, 4, 4] else "part"
        assert (await utility.world.op.post(f"/programmes/{programme}/events/{newer}/cancel")).status_code == 200

        async def cancelled():
            return sorted(status_of(one) for one in await controls(http, path)) == [2, 2, 4, 4] or None

        heard.states["released"] = "kept" if await until(cancelled) else "lost"
        one = body | {"intervals": body["intervals"][:1], "randomiseKeepsLength": True}
        await post(utility.world, f"/programmes/{programme}/events", one)

        async def by_chance():
            texts = [link.findtext(f"{SEP}randomizeStart") for link in await controls(http, path)]
            return [int(text) for text in texts if text]

        told_chance = await until(by_chance) == [5]
        heard.states["random-start"] = "lost" if not told_chance else "part" if chance is None else "kept"
    judged("IEEE 2030.5", heard)


async def order(utility, thing, point, value, until_us, **more):
    """Give an order; return its command."""
    body = {"thing": thing, "point": point, "value": value, "until": format_rfc3339(until_us), **more}
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    return await post(utility.world, "/commands", body, headers)


async def one_of(http, path, other=None):
    found = await controls(http, path, leases=True)
    mrids = [one.find(f"{SEP}mRID").text for one in found]
    return found[0] if len(found) == 1 and mrids != [other] else None


async def test_a_lease_as_a_control_of_2030_5(tmp_path) -> None:
    from csip_device import device
    from csip_utility import BATTERY, serving, until

    heard = Heard()
    async with serving(tmp_path) as utility:
        now_us = utility.world.node.clock.now_us()
        end_us = now_us // US * US + 600_400_000
        thing, http, path, _ = await device(utility, model=BATTERY)
        await order(utility, thing, "activePowerSetpoint", TARGET_W, end_us, steps=[{"afterS": 300, "value": 500}])
        control = await until(lambda: one_of(http, path))
        target = watts(control.find(f"{SEP}DERControlBase/{SEP}opModTargetW"))
        heard.states["sign"] = "kept" if abs(target + TARGET_W) <= 1 else "lost"
        heard.states["plan"] = "lost" if len(await controls(http, path, leases=True)) == 1 else "kept"
        await _limited(utility, heard, (now_us, None, end_us))
    judged("IEEE 2030.5, a lease", heard)


async def _limited(utility, heard, edges):
    from csip_device import device
    from csip_utility import until

    thing, http, path, issued = await device(utility)
    first = await order(utility, thing, "activePowerLimit", LIMIT_W, edges[2], randomiseStartS=1)
    control = await until(lambda: one_of(http, path))
    (program,) = [one async for one, _ in programs(http, path, leases=True)]
    default = program.find(f"{SEP}DefaultDERControlLink")
    start_us, end_us = span_us(control)
    value = watts(control.find(f"{SEP}DERControlBase/{CSIP}opModGenLimW"))
    numbers(heard, edges, value, start_us if start_us % (60 * US) else None, end_us, None if default is None else 0.0)
    text = (await http.get(control.get("href"))).text
    heard.states |= {
        "reverts": "kept" if start_us < end_us else "lost",
        "random-start": "lost" if control.find(f"{SEP}randomizeStart") is None else "kept",
        "trace": "kept" if TRACE in text else "lost",
    }

    async def said(id_):
        return (await utility.world.op.get(f"/commands/{id_}")).json()

    async def in_state(id_, state):
        return (await said(id_))["state"] == state or None

    assert await respond(http, control, issued.lfdi, 1) == 201
    heard.states["acknowledged"] = "kept" if await until(lambda: in_state(first, "acknowledged")) else "lost"
    second = await order(utility, thing, "activePowerLimit", 3_000.0, edges[2])
    other = await until(lambda: one_of(http, path, control.find(f"{SEP}mRID").text))
    heard.states["sequence"] = "part" if status_of(other) in {0, 1} else "kept"
    assert (await utility.world.op.post(f"/commands/{second}/cancel")).status_code == 200

    async def gone():
        return not await controls(http, path, leases=True) or None

    heard.states["released"] = "part" if await until(gone) else "lost"
    third = await order(utility, thing, "activePowerLimit", 2_000.0, edges[2])
    assert await respond(http, await until(lambda: one_of(http, path)), issued.lfdi, 252) == 201
    await until(lambda: in_state(third, "rejected"))
    heard.states["refused"] = "part" if "252" in (await said(third))["reason"] else "lost"
