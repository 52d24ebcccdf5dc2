"""Reports as pages: all in one file, no script, unknown in red, and whatever was typed somewhere is only text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ncia.console import reports as pages
from ncia.core.reports.loss import Compared, Unnamed
from ncia.core.reports.naming import Naming
from tests.core.reports.test_backup import golden
from tests.core.reports.test_continuity import FOLLOWED, MOVED, failover
from tests.core.reports.test_continuity import report as continuity
from tests.core.reports.test_loss import receipt
from tests.core.reports.test_loss import report as loss
from tests.core.story import NORTH, SOUTH, Story, text


def plain(told: Any) -> Mapping[str, Any]:
    return json.loads(json.dumps(told.to_json()))


GAP = Unnamed(text(50), text(60), 1000, "street could keep no more receipts")
LOST = plain(loss(receipt("a", "aa"), receipt("gone", "cc", 7), receipt("b", "other"), unnamed=(GAP,)))
PAGES = {
    "continuity": pages.continuity_page(plain(continuity(failover(14.2), FOLLOWED, MOVED))),
    "backup": pages.backup_page(golden()),
    "loss": pages.loss_page(LOST),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_needs_nothing_from_anywhere(name: str) -> None:
    page = PAGES[name]
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|https?://", page)


@pytest.mark.parametrize("name", PAGES)
def test_what_is_not_proven_has_a_section_of_its_own_in_red(name: str) -> None:
    assert '<section class="unproven">\n<h2>Not proven</h2>' in PAGES[name]


def test_systems_are_called_as_their_citizens_call_them() -> None:
    assert "<b>세금</b>" in PAGES["continuity"]


def test_a_figure_that_nobody_measured_is_red() -> None:
    page = pages.continuity_page(plain(continuity(Story())))
    assert page.count('<td class="bad w">unknown</td>') == 2
    assert page.count('<td class="bad">never measured</td>') == 2


def test_a_loss_that_would_have_no_names_is_red_and_says_why() -> None:
    live = replace(FOLLOWED, naming={NORTH: Naming("street was not heard")})
    page = pages.continuity_page(plain(continuity(Story(), live)))
    assert '<td class="bad">✗</td>' in page
    assert "the names of the acts that a loss of north would take: street was not heard" in page


def test_every_line_of_the_backup_page_names_its_entry() -> None:
    for told in golden()["datasets"]:
        for entry in [p["entry"] for p in told["points"]] + [t["entry"] for t in told["troubles"] + told["deleted"]]:
            assert entry in PAGES["backup"]
    assert "cd" * 32 not in PAGES["backup"]
    assert "ab" * 32 in PAGES["backup"]


def test_the_loss_page_lists_every_act_whole() -> None:
    for act in LOST["agencies"][0]["lost"] + LOST["agencies"][0]["altered"]:
        assert act["id"] in PAGES["loss"]
        assert act["content_sha256"] in PAGES["loss"]
    assert "at\nleast 1,000 acts" in PAGES["loss"]


def test_a_loss_that_is_none_and_proven_is_said_in_one_green_line() -> None:
    page = pages.loss_page(plain(loss(receipt("a", "aa"))))
    assert "✓ None is lost" in page
    assert "unproven" not in page.split("</style>")[1]


def test_none_lost_of_what_could_be_looked_for_is_not_green() -> None:
    page = pages.loss_page(plain(loss(receipt("a", "aa"), rows=Compared(SOUTH, why="<b>down</b>"))))
    assert "✓" not in page
    assert "&lt;b&gt;down&lt;/b&gt;" in page
