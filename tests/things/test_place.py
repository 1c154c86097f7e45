"""Places: boxes, circles, polygons; which positions lie in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid
from gridspine.things.place import Circle, Place

LAT, LON = np.array([52.0, 52.5, -33.9, np.nan, 0.0]), np.array([5.0, 13.4, 151.2, np.nan, 179.9])


def inside(place: Place) -> list[bool]:
    place.check()
    return place.covers(LAT, LON).tolist()


def test_boxes_and_one_across_the_antimeridian() -> None:
    assert inside(Place(bbox=(4, 51, 6, 53))) == [True, False, False, False, False]
    assert inside(Place(bbox=(170, -40, -170, 10))) == [False, False, False, False, True]


def test_a_circle_reaches_as_far_as_the_earth_is_round() -> None:
    """Between (52, 5) and (52.5, 13.4) are 575 km on the great circle."""
    assert inside(Place(circle=Circle(52.0, 5.0, 570_000.0)))[:2] == [True, False]
    assert inside(Place(circle=Circle(52.0, 5.0, 580_000.0)))[:2] == [True, True]


def test_holes_and_several_polygons() -> None:
    outer = [[0, 0], [20, 0], [20, 60], [0, 60], [0, 0]]
    hole = [[10, 50], [15, 50], [15, 55], [10, 55], [10, 50]]
    far = [[150, -35], [152, -35], [152, -33], [150, -35]]
    assert inside(Place(geometry={"type": "Polygon", "coordinates": [outer, hole]})) == [True] + [False] * 4
    several = {"type": "MultiPolygon", "coordinates": [[outer], [far]]}
    assert inside(Place(geometry={"type": "Feature", "geometry": several})) == [True, True, True, False, False]


@given(
    st.lists(st.tuples(st.floats(-89, 89), st.floats(-179, 179)), min_size=1, max_size=50),
    st.tuples(st.floats(-80, 0), st.floats(-170, 0), st.floats(1, 80), st.floats(1, 170)),
)
def test_a_polygon_that_is_a_box_is_the_box(positions, box) -> None:
    south, west, north, east = box
    lat, lon = np.array(positions).T
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    by_polygon = Place(geometry={"type": "Polygon", "coordinates": [ring]}).covers(lat, lon)
    strictly = (lat > south) & (lat < north) & (lon > west) & (lon < east)
    by_box = Place(bbox=(west, south, east, north)).covers(lat, lon)
    assert (by_polygon[strictly]).all()
    assert not by_polygon[~by_box].any()


@pytest.mark.parametrize(
    "place",
    [
        Place(bbox=(0, 5, 1, 4)),
        Place(circle=Circle(91, 0, 1)),
        Place(geometry={"type": "Point", "coordinates": [0, 0]}),
        Place(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}),
        Place(geometry={"type": "Polygon", "coordinates": [[[0, 0]] * 1001]}),
        Place(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [500, 0], [0, 0]]]}),
        Place(geometry={"type": "Polygon", "coordinates": "x"}),
    ],
)
def test_what_is_no_place_is_refused(place) -> None:
    with pytest.raises(Invalid):
        place.check()
