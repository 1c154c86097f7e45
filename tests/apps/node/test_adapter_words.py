"""The last words of adapters: whose they are, what is taken out of them, how many are kept."""

import logging

from gridspine.apps.node import adapter_words
from gridspine.apps.node.adapter_words import AdapterWords
from gridspine.infra.runtime.clock import VirtualClock

METER, OTHER = "urn:example:meter-1", "urn:example:other"
LOG = "tests.adapter_words.some_adapter"


def words() -> AdapterWords:
    return AdapterWords(VirtualClock(), lambda adapter, thing: (adapter, thing) == ("modbus", METER))


def test_a_warning_is_of_the_thing_that_it_names() -> None:
    kept = words()
    log = logging.getLogger(f"{LOG}.worker")
    with kept.listening("modbus", LOG, lambda text: text.replace("hush", "(hidden)")):
        log.info("%s is read", METER)
        assert kept.of("modbus", METER) is None
        log.warning("%s does not answer: %s", METER, "no route, hush")
        log.warning("binding left out: %s: connection: none", OTHER)
    log.warning("%s: said when nobody hears it", METER)
    found = kept.of("modbus", METER)
    assert found is not None
    assert found.text == "does not answer: no route, (hidden)"
    assert kept.of("modbus", OTHER) is None  # another adapter serves it, or nobody
    assert kept.of("ocpp", METER) is None


def test_what_adapters_share_speaks_in_their_names() -> None:
    kept = words()
    with kept.listening("modbus", LOG, str), kept.listening("ocpp", LOG, str):
        logging.getLogger(f"{adapter_words.SHARED}.upstream").warning("%s: the VTN does not answer", METER)
    found = kept.of("modbus", METER)
    assert found is not None
    assert found.text == "the VTN does not answer"
    assert kept.of("ocpp", METER) is None


def test_a_word_that_begins_with_its_thing_is_shown_without_it() -> None:
    for said in (f"binding left out: {METER}: connection: none", f"{METER}: connection: none"):
        kept = words()
        kept.hear("modbus", said, str)
        found = kept.of("modbus", METER)
        assert found is not None
        assert found.text == "connection: none"


def test_what_is_said_of_a_server_is_not_told_with_anybodys_thing() -> None:
    kept = words()
    kept.hear("ieee2030_5", "utility northside: the server answers 503", str)
    found = kept.of("ieee2030_5", "utility northside")
    assert found is not None
    kept.hear("ieee2030_5", f"utility northside: {OTHER}: no such point", str)
    assert kept.of("ieee2030_5", "utility northside") == found


def test_no_more_are_kept_than_there_is_room_for() -> None:
    kept, most = words(), adapter_words.MOST
    for number in range(most + 5):
        kept.note("ocpp", f"CP{number}", "x" * 10_000)
    assert kept.of("ocpp", "CP4") is None
    newest = kept.of("ocpp", f"CP{most + 4}")
    assert newest is not None
    assert len(newest.text) < 1_000
