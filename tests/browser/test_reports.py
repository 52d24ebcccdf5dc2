"""Report pages on paper: nothing is cut off at the edge of an A4 sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.console.test_reports import PAGES

A4_PIXELS_WIDE = 703  # 210 mm less the page's margins, at 96 pixels an inch

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_an_a4_sheet_with_long_hashes_in_it(browser: Any, tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.html"
    file.write_text(PAGES[name], encoding="utf-8")
    page = browser.new_page(viewport={"width": A4_PIXELS_WIDE, "height": 1000})
    page.emulate_media(media="print")
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_PIXELS_WIDE
    page.close()
