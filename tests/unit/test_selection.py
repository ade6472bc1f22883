"""Selection: sections, regions, least urgency."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.edition import REGIONS, SECTIONS
from service.domain.selection import EVERYTHING, Selection
from service.errors import MalformedError
from tests.unit.samples import EN, item

sections = st.lists(st.sampled_from(list(SECTIONS)), max_size=3)
regions = st.lists(st.sampled_from(REGIONS), max_size=3)
urgencies = st.integers(1, 4)


@given(sections, regions, urgencies, st.sampled_from([*SECTIONS, None]), regions, urgencies)
def test_a_reader_sees_what_fits_each_thing_it_asked_for(
    asked_sections: list[str], asked_regions: list[str], least: int, section: str | None, where: list[str], urgency: int
) -> None:
    selection = Selection.parse(EN, asked_sections, asked_regions, str(least))
    seen = selection.matches(item(section=section, regions=tuple(where), urgency=urgency))
    fits_section = not asked_sections or section in asked_sections
    fits_region = not asked_regions or any(region in where for region in asked_regions)
    assert seen == (fits_section and fits_region and urgency <= least)


@given(sections, regions)
def test_the_order_of_the_query_does_not_matter(asked_sections: list[str], asked_regions: list[str]) -> None:
    one = Selection.parse(EN, asked_sections, asked_regions, None)
    other = Selection.parse(EN, asked_sections[::-1] * 2, asked_regions[::-1] * 2, "4")
    assert one == other
    assert hash(one) == hash(other)


def test_an_empty_query_asks_for_everything() -> None:
    assert Selection.parse(EN, [], [], None) == EVERYTHING


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ((["gossip"], [], None), "section"),
        (([""], [], None), "section"),
        (([], ["mars"], None), "region"),
        (([], [], "0"), "urgency"),
        (([], [], "5"), "urgency"),
        (([], [], ""), "urgency"),
        (([], [], "1.0"), "urgency"),
        (([], [], "٣"), "urgency"),
    ],
)
def test_a_wrong_query_is_refused_by_its_name(query: tuple[list[str], list[str], str | None], path: str) -> None:
    with pytest.raises(MalformedError, match="expected") as refusal:
        Selection.parse(EN, *query)
    assert refusal.value.path == path
