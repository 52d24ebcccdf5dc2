"""The console in a real browser: what a person sees, and that it stays true when the stream speaks or falls silent."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ncia.core.views import ProofView
from tests.browser.server import Stage, console_at
from tests.console import sample

pytestmark = pytest.mark.browser
WAIT_MS = 30_000
PHONE, WALL = {"width": 390, "height": 844}, {"width": 1920, "height": 1080}


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a stage's page in a viewport; any script error or refused resource fails the test."""
    wrong: list[str] = []
    contexts: list[Any] = []

    def opener(stage: Stage, viewport: dict[str, int] = WALL, scheme: str = "light") -> Any:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.goto(stage.url)
        assert stage.listening.wait(WAIT_MS / 1000)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert wrong == []


def wait_text(page: Any, selector: str, text: str) -> None:
    page.locator(selector, has_text=text).first.wait_for()


def test_a_calm_estate_says_so_and_names_every_system(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage)
        assert page.locator("#headline").inner_text() == "● all 11 systems up"
        assert page.locator("#systems tbody tr").count() == 11
        assert page.locator("#sites article").count() == 3
        assert "홈택스" in page.locator('[data-system="hometax"]').inner_text()
        assert "No incident." in page.locator("#incidents").inner_text()
        assert not page.locator("#runs").is_visible()


def test_an_incident_arrives_by_itself_with_its_root_and_what_to_run_next(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage)
        stage.say(sample.burning())
        wait_text(page, "#headline", "9 down of 11 systems, 1 incident")
        incident = page.locator("#incidents article").inner_text()
        assert "Site Daejeon is lost" in incident
        assert "ncia recover plan daejeon" in incident
        assert "nobody has acknowledged it" in incident
        site = page.locator('[data-site="daejeon"]').inner_text()
        assert "not held" in site
        assert "silent" in site


def test_a_plan_waits_for_its_approvals_then_its_steps_run_to_the_end(open_page: Any) -> None:
    with console_at(sample.planned()) as stage:
        page = open_page(stage)
        waiting = page.locator("#runs").inner_text()
        assert "waits for approval" in waiting
        assert "2 approvals missing" in waiting
        stage.say(sample.recovering(23))
        wait_text(page, "#runs", "23 of 54 steps")
        assert page.locator('[data-group="share"] .box.done').count() == 6
        assert page.locator('[data-group="g2b"] .box.running').count() == 1
        stage.say(sample.recovered())
        wait_text(page, "#runs", "succeeded")
        hometax = page.locator('[data-system="hometax"]').inner_text()
        assert "Gwangju" in hometax
        assert "epoch 2, moved" in hometax


def test_what_is_not_known_is_red_and_says_unknown(open_page: Any) -> None:
    with console_at(sample.recovered()) as stage:
        page = open_page(stage)
        loss = page.locator('[data-system="hometax"] [data-label="loss"] .bad').first
        assert loss.inner_text() == "? unknown"
        red = page.evaluate("getComputedStyle(document.querySelector('[data-label=loss] .bad')).color")
        assert red == "rgb(192, 31, 47)"


def test_an_exception_is_red_with_who_allowed_it_and_until_when(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        gaps = open_page(stage).locator("#gaps").inner_text()
        assert "8 datasets held at one site only" in gaps
        assert "hometax/certificates" in gaps
        assert "kim allows it until 2027-06-30" in gaps


def test_a_newer_proof_that_failed_stands_beside_the_older_one_that_matched(open_page: Any) -> None:
    failed = ProofView("hometax/rows", "hometax", "p", sample.at(-60), False, 1.0, "restored and NOT equal: acts")
    with console_at(replace(sample.calm(), proofs=(failed,))) as stage:
        proven = open_page(stage).locator('[data-system="hometax"] [data-label="proven"]').inner_text()
        assert "✓ 25 min ago" in proven
        assert re.search("✕ not equal 6[0-9] s ago", proven)


def test_the_clock_turns_red_when_the_stream_breaks_and_heals_by_itself(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage)
        stage.say(replace(sample.calm(), as_of=sample.at(5)))
        wait_text(page, "#clock", "as of 12:20:05")
        assert "stale" not in (page.locator("#clock").get_attribute("class") or "")
        stage.hang_up()
        page.locator("#clock.stale").wait_for()
        assert "disconnected" in page.locator("#clock").inner_text()
        stage.listening.clear()
        stage.refuse = False
        assert stage.listening.wait(WAIT_MS / 1000)
        stage.say(replace(sample.calm(), as_of=sample.at(9)))
        page.locator("#clock:not(.stale)").wait_for()


def test_a_server_that_repeats_old_news_is_stale(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage)
        page.clock.install()
        page.reload()
        page.locator("#clock:not(.stale)").wait_for()  # the stream speaks: what follows is not a lost connection
        stage.say(sample.calm())
        page.clock.run_for(13_000)
        stage.say(sample.calm())
        page.clock.run_for(1_000)
        page.locator("#clock.stale").wait_for()
        assert "no news for" in page.locator("#clock").inner_text()


def every_view(stage: Stage, page: Any) -> Iterator[str]:
    """Each view in turn, on screen."""
    for second, name in enumerate(("burning", "planned", "recovering", "recovered", "calm"), 30):
        stage.say(replace(getattr(sample, name)(), as_of=sample.at(second)))
        wait_text(page, "#clock", f"12:20:{second}")
        yield name


@pytest.mark.parametrize("viewport", [PHONE, WALL], ids=["phone", "wall"])
def test_nothing_runs_over_the_edge(open_page: Any, viewport: dict[str, int]) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage, viewport)
        widths = {v: page.evaluate("document.documentElement.scrollWidth") for v in every_view(stage, page)}
        assert max(widths.values()) <= viewport["width"], widths


def test_a_wall_shows_every_system_without_scrolling_in_letters_that_carry_four_metres(open_page: Any) -> None:
    with console_at(sample.calm()) as stage:
        page = open_page(stage, WALL, "dark")
        bottom = "document.querySelector('#systems').getBoundingClientRect().bottom"
        bottoms = {view: page.evaluate(bottom) for view in every_view(stage, page)}
        assert max(bottoms.values()) <= WALL["height"], bottoms
        assert float(page.evaluate("parseFloat(getComputedStyle(document.querySelector('td.state')).fontSize)")) >= 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_enough(open_page: Any, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, for each colour of text on the ground that it stands on."""
    with console_at(sample.planned()) as stage:
        worst = open_page(stage, WALL, scheme).evaluate(CONTRAST)
        assert [found for found in worst if found["ratio"] < 4.5] == []


@pytest.mark.parametrize("view", ["calm", "burning", "recovering"])
def test_colour_is_never_the_only_carrier(open_page: Any, view: str) -> None:
    with console_at(getattr(sample, view)()) as stage:
        marks = open_page(stage).locator(".mark").all_inner_texts()
        assert marks
        assert all(text[0] in "●▲✕?" and len(text.split()) > 1 for text in marks)


def test_what_a_log_or_a_person_wrote_stays_text(open_page: Any) -> None:
    hostile = "<img src=x onerror=document.title='owned'></script><script>document.title='owned'</script>"
    status = sample.burning()
    status = replace(status, incidents=(replace(status.incidents[0], sentence=hostile, run_next=hostile),))
    with console_at(status) as stage:
        page = open_page(stage)
        assert page.locator("#incidents .sentence").inner_text() == hostile
        stage.say(replace(status, as_of=sample.at(2)))
        wait_text(page, "#clock", "as of 12:20:02")
        assert "owned" not in page.title()


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.matches("script, .box") || !e.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    found.push({ text: e.textContent.slice(0, 30), ratio: (a + .05) / (b + .05) });
  }
  return found;
}"""
