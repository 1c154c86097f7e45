"""JSONPath queries that are none."""

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.jsonpath import Asked


@pytest.mark.parametrize("query", ["$[?1e999@.title == 'x']", "$[?@.a == 1e999]", "$[1e999]"])
def test_a_number_beyond_all_numbers_is_refused(query: str) -> None:
    with pytest.raises(Invalid, match="query"):
        Asked(query)
