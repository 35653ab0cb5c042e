import pytest

from fromnoise.score import Section, Share, kappa, wilson


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_knows_nothing_from_nothing() -> None:
    low, high = wilson(13, 40)
    assert wilson(27, 40) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_share_is_shown_with_its_interval() -> None:
    assert str(Share(81, 263)) == "30.8 [26–37]"
    assert str(Share(0, 0)) == "–"


def test_a_section_is_a_table_with_a_note() -> None:
    rows = ({"": "model", "right": Share(1, 2), "kid": 0.123456}, {"": "true", "n": 12})
    assert Section("A title", rows, "A note.").to_markdown().splitlines() == [
        "### A title",
        "",
        "|  | right | kid | n |",
        "| --- | --- | --- | --- |",
        "| model | 50.0 [9–91] | 0.123 | – |",
        "| true | – | – | 12 |",
        "",
        "A note.",
    ]
    assert Section.from_json(Section("A", rows, "b").to_json()) == Section("A", rows, "b")


def test_kappa_is_agreement_beyond_chance() -> None:
    pairs = [(True, True)] * 22 + [(True, False)] * 2 + [(False, True)] * 4 + [(False, False)] * 11
    assert kappa(pairs) == pytest.approx(2 / 3)  # 33 of 39 agree, by chance (24 * 26 + 15 * 13) / 39 would
    assert kappa([(True, True), (False, False)]) == 1
    assert kappa([(True, False), (False, True)]) == -1
    assert kappa([(True, True), (True, False), (False, True), (False, False)]) == 0
