import msgspec
import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.adapter_settings import read_section


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: int = 1


def test_parts_of_the_node_are_left_to_it() -> None:
    assert read_section("morse", {"port": 2, "wire": {"host": "::1"}}, Section, of_the_node={"wire"}) == Section(2)
    assert read_section("morse", {}, Section) == Section()


@pytest.mark.parametrize(("section", "words"), [({"port": "x"}, r"\$\.port"), ({"wire": {}}, "unknown field `wire`")])
def test_what_is_wrong_names_the_adapter_and_the_field(section, words) -> None:
    with pytest.raises(Invalid, match=rf"settings of the adapter morse: .*{words}"):
        read_section("morse", section, Section)
