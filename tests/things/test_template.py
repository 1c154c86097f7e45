"""Device templates: what is wrong with one is said field by field; what a good one makes of an address."""

import pytest

from gridspine.energy.templates import known_models, load_templates
from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.things.template_fill import fill
from gridspine.things.template_read import MAX_BYTES, read_folder, read_template

HEAD = 'maker = "Acme"\nproduct = "M1"\nclass = "{class_}"\n[source]\ndocument = "D"\n'
MODBUS = 'protocol = "modbus"\n' + HEAD + "[points]\n"
ENERGY = (
    'activeEnergyImport = { address = 2, unit = "Wh", type = "uint32" }\n'
    'activeEnergyExport = { address = 4, unit = "Wh", type = "uint32" }\n'
)
POWER = 'activePower = { address = 0, unit = "W", sign = "import_positive", type = "int32" }\n'


def read(text: str, class_: str = "meter"):
    return read_template(text.replace("{class_}", class_).encode(), known_models())


def wrong(text: str, class_: str = "meter") -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        read(text, class_)
    return [(one["field"], one["description"]) for one in caught.value.extra["validationErrors"]]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (MODBUS + POWER + ENERGY.replace('"Wh"', '"kg"', 1), "points.activeEnergyImport.unit", "kg"),
        (MODBUS + POWER.replace('sign = "import_positive", ', "") + ENERGY, "points.activePower.sign", "say whether"),
        (MODBUS + POWER + ENERGY.replace("2,", '2, sign = "import_positive",'),
         "points.activeEnergyImport.sign", "net"),
        (MODBUS + POWER + ENERGY.replace("2,", "2, scale = -1.0,"), "points.activeEnergyImport.scale", "more than 0"),
        (MODBUS + POWER + ENERGY.replace("2,", "65535,"), "points.activeEnergyImport.address", "none of 0"),
        (MODBUS + POWER + ENERGY.replace("uint32", "bit", 1), "points.activeEnergyImport.type", "does not hold"),
        (MODBUS + POWER, "points.activeEnergyExport", "demands"),
        (MODBUS + POWER + ENERGY + 'power = { address = 9, unit = "W" }\n', "points.power", "has no such point"),
        (MODBUS.replace("[source]", 'lacks = ["voltage"]\n[source]') + POWER + ENERGY
         + 'voltage = { address = 9, unit = "V" }\n', "lacks", "there after all"),
        (MODBUS.replace("[source]", "[parameters.x]\ntitle = 'X'\n[source]") + POWER + ENERGY,
         "parameters.x", "nowhere"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_is(text, field, words) -> None:
    found = wrong(text)
    assert field in [one for one, _ in found], found
    assert any(words in said for one, said in found if one == field), found


def test_a_class_that_is_not_known_is_said() -> None:
    assert wrong(MODBUS + POWER + ENERGY, "toaster")[0][0] == "class"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("protocol = 'modbus'\n", "(root)"), ("protocol = 'smoke'\n", "protocol"),
        (MODBUS.replace("{class_}", "meter") + 'activePower = { adress = 0, unit = "W" }\n', "points.(one)"),
    ],
)  # fmt: skip
def test_fields_that_are_missing_or_not_known_are_said(text, field) -> None:
    assert any(one.startswith(field) for one, _ in wrong(text))


def test_what_is_no_toml_or_too_long_is_refused() -> None:
    with pytest.raises(Invalid, match="not TOML"):
        read("[[[")
    with pytest.raises(TooLarge):
        read("#" * (MAX_BYTES + 1))


def test_a_command_needs_a_class_that_lets_it_and_somebody_who_ends_it() -> None:
    state = POWER + 'activeEnergyExport = { address = 4, unit = "Wh" }\n'
    text = 'protocol = "modbus"\nlacks = ["operatingState"]\n' + HEAD + "[points]\n" + state
    limit = 'activePowerLimit = { address = 10, unit = "W", write = { address = 10, %s } }\n'
    assert wrong(text + limit % 'reversion = "safe_to_persist"', "pv_inverter")[0][0].endswith("write.reversion")
    assert wrong(text + limit % 'reversion = "timer"', "pv_inverter")[0][0].endswith("write.timer")
    good = read(text + limit % 'reversion = "timer", timer = { address = 20 }', "pv_inverter")
    connection = fill(good, "tcp://192.0.2.7/1").connection
    served = connection["registers"]["activePowerLimit"]
    assert served["write"] == {"entity": "holding", "address": 10, "type": "uint16"}
    assert served["timer"] == {"entity": "holding", "address": 20, "type": "uint16"}
    no_lease = POWER.replace(
        '"int32"', '"int32", write = { address = 0, reversion = "timer", timer = { address = 9 } }'
    )
    assert wrong(MODBUS + no_lease + ENERGY)[0] == (
        "points.activePower.write",
        "its class does not let it be commanded",
    )


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ("tcp://192.0.2.7", {"transport": "tcp", "host": "192.0.2.7", "port": 502, "unit": 1}),
        ("tcp://meter.example:1502/7", {"transport": "tcp", "host": "meter.example", "port": 1502, "unit": 7}),
        ("modbus+tcp://[2001:db8::7]/3", {"transport": "tcp", "host": "2001:db8::7", "port": 502, "unit": 3}),
        ("rtu:///dev/ttyUSB0/17", {"transport": "rtu", "device": "/dev/ttyUSB0", "unit": 17, "baudrate": 2400}),
        ("rtu:///dev/ttyUSB0", {"transport": "rtu", "device": "/dev/ttyUSB0", "unit": 1, "parity": "N"}),
    ],
)
def test_where_a_modbus_device_is(at, place) -> None:
    connection = fill(load_templates()["eastron-sdm120"], at).connection
    assert {name: connection[name] for name in place} == place


@pytest.mark.parametrize(
    "at", ["", "192.0.2.7", "tcp://", "tcp://h/256", "tcp://h/1/2", "tcp://u:p@h/1", "tcp://h:x/1", "rtu:///etc/passwd/1",
           "rtu://h/dev/ttyUSB0/1", "tcp://h/one"],
)  # fmt: skip
def test_what_is_no_address_is_refused(at) -> None:
    with pytest.raises(Invalid, match="at: "):
        fill(load_templates()["eastron-sdm120"], at)


def test_signs_scales_and_orders_reach_the_adapter() -> None:
    registers = fill(load_templates()["carlo-gavazzi-em340"], "tcp://192.0.2.7/1").connection["registers"]
    assert registers["activePower"]["read"] == {
        "entity": "input", "address": 40, "type": "int32", "factor": 0.1, "wordSwap": True,
    }  # fmt: skip
    forms = fill(load_templates()["fronius-inverter"], "http://192.0.2.9/", {"device": "2"}).connection["forms"]
    assert forms["activePower"]["pick"]["scale"] == -1.0
    assert "DeviceId=2&" in forms["activePower"]["href"]


def test_a_parameter_is_encoded_where_it_is_put_into_an_address() -> None:
    forms = fill(load_templates()["shelly-pro-em"], "http://192.0.2.9", {"channel": "1"}).connection["forms"]
    assert forms["activePower"]["href"] == "http://192.0.2.9/rpc/EM1.GetStatus?id=1"
    with pytest.raises(Invalid, match=r"parameters\.channel"):
        fill(load_templates()["shelly-pro-em"], "http://192.0.2.9", {"channel": "1&x=2"})


def test_a_clouds_key_goes_by_name_only() -> None:
    connection = fill(load_templates()["solaredge-cloud"], given={"site": "7"}, secret="sun").connection
    assert connection["security"] == {"scheme": "apikey", "secret": "sun", "in": "query", "name": "api_key"}
    assert connection["forms"]["activePower"]["href"] == "https://monitoringapi.solaredge.com/site/7/overview"


def test_a_folder_gives_the_good_ones_and_says_why_others_are_none(tmp_path) -> None:
    (tmp_path / "good.toml").write_text((MODBUS + POWER + ENERGY).replace("{class_}", "meter"))
    (tmp_path / "No Good.toml").write_text("")
    (tmp_path / "broken.toml").write_text("[")
    (tmp_path / "notes.txt").write_text("[")
    good, bad = read_folder(tmp_path, known_models())
    assert good.keys() == {"good"}
    assert bad.keys() == {"No Good", "broken"}
    assert read_folder(tmp_path / "nowhere", known_models()) == ({}, {})


CLOUD = (
    'protocol = "http"\n' + HEAD + '[parameters.system]\ntitle = "Its number"\n'
    '[http]\nat = "/systems"\nbase = "https://api.acme.example"\nitems = "/systems"\nkey = "/id"\n'
    'item = "{system}"\nnext = "/next"\n'
    'scheme = "oauth2"\ngrant = "authorization_code"\ntoken = "https://acme.example/token"\n'
    'authorise = "https://acme.example/authorise"\n[points]\n'
    'activePower = { pointer = "/w", unit = "W", sign = "import_positive" }\n'
    'activeEnergyImport = { pointer = "/in", unit = "Wh" }\nactiveEnergyExport = { pointer = "/out", unit = "Wh" }\n'
)


def test_a_clouds_listing_and_grant_reach_the_adapter() -> None:
    found = fill(read(CLOUD), given={"system": "4711"}, secret="acme").connection
    assert found["listing"] == {"items": "/systems", "key": "/id", "next": "/next"}
    assert found["item"] == "4711"
    assert found["security"]["grant"] == "authorization_code"


@pytest.mark.parametrize(
    ("taken", "field"),
    [
        ('authorise = "https://acme.example/authorise"\n', "http.authorise"),
        ('token = "https://acme.example/token"\n', "http.token"),
        ('item = "{system}"\n', "http.item"),
        ('items = "/systems"\n', "http.item"),
    ],
)
def test_a_cloud_that_does_not_say_enough_is_refused(taken: str, field: str) -> None:
    assert field in [one for one, _ in wrong(CLOUD.replace(taken, ""))]
