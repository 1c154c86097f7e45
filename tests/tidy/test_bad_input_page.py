"""What is said of bad input is shown by tests that exist, and the page says what the table says."""

import importlib.util

from tests.judged import ROOT

_spec = importlib.util.spec_from_file_location("bad_input_page", ROOT / "tools" / "bad_input_page.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


def faults(table, counts):
    """Return what does not stand."""
    known, found = set(pages.adapters()), []
    for words, rows in table["inputs"].items():
        found += [f"{words}: there is no adapter {name}" for name in rows if name != "*" and name not in known]
        for name, row in rows.items():
            if len(row) == 1 and len(row[0]) > 10:
                continue
            for one in row[1:] or row:
                path, _, function = pages.test_of(one).partition("::")
                file = ROOT / path
                if len(row) < 2 or not file.is_file() or f"def {function}(" not in file.read_text():
                    found.append(f"{words}, {name}: there is no {one}")
    for name, decoders in table["decoders"].items():
        for one in decoders:
            run = counts.get(one)
            if run is not None and (run["inputs"] < pages.LEAST or run["faults"]):
                found.append(f"{name}: {one} was fuzzed too little, or in vain")
    return found


def test_what_is_said_is_shown_by_a_test_that_exists() -> None:
    assert faults(pages.read(), pages.fuzzed()) == []


def test_the_first_seven_answer_for_every_input() -> None:
    table = pages.read()
    assert len(table["inputs"]) >= 11
    for words, rows in table["inputs"].items():
        assert "*" in rows or set(rows) >= set(table["decoders"]), words


def test_what_is_planted_is_found() -> None:
    rows = {
        "mqtt": ["x", "mqtt/test_wire.py::test_none"], "morse": ["there can be none"], "ocpp": ["x"],
        "modbus": ["x", "none.py::test_a"],
        "webhook": ["x", "test_bad_input.py::test_there_are_both_kinds", "none.py::test_b"],
    }  # fmt: skip
    planted = {"inputs": {"noise": rows}, "decoders": {"mqtt": ["few", "none"]}}
    found = faults(planted, {"few": {"inputs": 99_999, "faults": []}})
    assert [one.partition(": ")[0] for one in found] == [
        "noise", "noise, mqtt", "noise, ocpp", "noise, modbus", "noise, webhook", "mqtt"
    ]  # fmt: skip


def test_the_page_says_what_the_table_says() -> None:
    made = pages.page(pages.read(), pages.fuzzed(), pages.adapters())
    assert pages.PAGE.read_text() == made, "run: make docs"
