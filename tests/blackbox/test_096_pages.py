"""Pages of docs/ that a new user types along: each of their commands prints what the page says."""

import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.append(str(TOP / "scripts"))

import walk_page  # noqa: E402  (it lies beside the other scripts)

PAGES = ["docs/tour.md", "docs/onboarding.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_what_is_printed(binary, page):
    walk_page.walk(TOP / page, binary.path)


@pytest.mark.parametrize("said, printed, fits", [
    (["order ord_01m84m4h5tp07ajse5hw37t29q"], ["order ord_01m84ky06wz14mj6g7nsn6xhs6"], True),
    (["44.88 EUR"], ["44.89 EUR"], False),
    (["a", "...", "z"], ["a", "b", "c", "z"], True),
    (["a", "...", "z"], ["a", "b", "c"], False),
    ([], ["more"], False),
    (["done in 0.05 s"], ["done in 1.2 s"], True),
])
def test_what_is_another_every_time_is_compared_by_its_kind(said, printed, fits):
    assert walk_page.alike(said, printed) == fits
