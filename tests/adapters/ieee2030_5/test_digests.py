"""Digests of subscribed resources: rendered once, and anew where anything of them is another."""

from msgspec.structs import replace

from gridspine.adapters.ieee2030_5 import digests, tree
from gridspine.adapters.ieee2030_5.der_program import assignments
from gridspine.adapters.ieee2030_5.end_device import EndDevices
from gridspine.adapters.ieee2030_5.record import ClientRecord, DeviceRecord, Said, Subscription
from gridspine.adapters.ieee2030_5.settings import Rates, Settings
from gridspine.adapters.ieee2030_5.view import ClientView, DeviceView
from gridspine.energy.control import Control
from gridspine.energy.envelope import Envelope, EnvelopeInterval
from gridspine.energy.followed import Followed
from gridspine.energy.site import Site
from gridspine.kernel.time import MAX_US, US
from gridspine.things.adapter import Binding

NOW_US = 1_700_000_000 * US
LFDI = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"
BINDING = Binding("urn:x", "X", "org", "https://gridspine.org/models/pv_inverter", {"lfdi": LFDI})


def view(limit_w=1500.0, *, rates=None, **documents):
    intervals = tuple(
        EnvelopeInterval(NOW_US + at * US, NOW_US + (at + 1) * US, Control(export_limit_w=limit_w)) for at in range(9)
    )
    site = Site(id="s", organisation="o", title="S", things=("urn:x",))
    followed = Followed(site, (Envelope(id="v", site="s", organisation="o", title="E", intervals=intervals),))
    (device,) = EndDevices([BINDING]).all()
    record = DeviceRecord(thing="urn:x", documents=documents)
    one = DeviceView(device, record, followed, assignments(followed, NOW_US, 1), f"/edev/{device.key}")
    return ClientView(LFDI, [one], ClientRecord(), Settings(), rates or Rates(), NOW_US, MAX_US)


def subscriptions(made):
    (one,) = made.devices
    (assigned,) = one.assignments
    controls = f"{one.href}/fsa/{assigned.key}/derp/{assigned.programs[0].key}/derc"
    return [Subscription(str(at), one.device.key, controls, f"http://a/{at}", at) for at in range(60)]


def test_a_list_is_rendered_once_for_all_and_anew_when_it_changes(monkeypatch) -> None:
    rendered = []

    def counted(view, one):
        rendered.append(one.resource)
        return tree.digest_of(view, one)

    monkeypatch.setattr(digests, "digest_of", counted)
    kept, first = digests.Digests(), view()
    asked = subscriptions(first)

    def look(made):
        """Return the digests of all, and how many were rendered for it."""
        rendered.clear()
        found = {kept.of(made, one) for one in asked}
        kept.turn()
        assert found == {tree.digest_of(made, asked[0])}, "it is that of what is told"
        return found, len(rendered)

    before, many = look(first)
    assert many == 1
    assert look(first) == (before, 0), "nothing was made anew"
    said = Said("<readingTime>1</readingTime>", NOW_US)
    assert look(view(DERStatus=said)) == (before, 0), "it says nothing of what the device says"
    after, many = look(view(900.0))
    assert many == 1
    assert after != before
    assert look(view()) == (before, 1)
    kept.turn()
    assert look(view()) == (before, 1), "what nobody asked for is forgotten"


def test_what_is_told_of_other_resources_is_never_old() -> None:
    kept = digests.Digests()
    (one,) = view().devices
    for resource in (f"{one.href}/der/1/ders", f"{one.href}/fsa", "/edev", f"{one.href}/sub"):
        asked = Subscription("1", one.device.key, resource, "http://a", 9)
        for at in range(3):
            made = view(
                DERStatus=Said(f"<readingTime>{at}</readingTime>", NOW_US), rates=replace(Rates(), der_list=at + 1)
            )
            assert kept.of(made, asked) == tree.digest_of(made, asked)
            kept.turn()
