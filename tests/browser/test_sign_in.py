"""Signing in with a real browser: the address from the command line opens the console, once, and leaves no trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ncia.api.doors import TCP, Door
from ncia.console import page as page_of
from ncia.core.base.clock import SystemClock
from tests.api.world import World
from tests.browser.test_console import WAIT_MS
from tests.console import sample

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[World, str]]:
    world = World(tmp_path, clock=SystemClock(), view=sample.calm().to_json(), page=page_of)
    config = uvicorn.Config(Door(world.application, TCP), port=0, log_level="error", lifespan="off")
    listener, server = config.bind_socket(), uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield world, f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    world.journal.close()


def code_of(world: World, person: str) -> str:
    caller = world.accounts.caller(world.sign_in(person).secret)
    return str(world.accounts.link(caller)["code"])


def test_a_stranger_is_shown_how_and_the_printed_address_opens_the_console_once(
    browser: Any, served: tuple[World, str]
) -> None:
    world, url = served
    context = browser.new_context()
    wrong: list[str] = []
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    page.goto(url)
    assert page.url == f"{url}/sign-in"
    assert "ncia login --key" in page.locator("main").inner_text()

    code = code_of(world, "kim")
    page.goto(f"{url}/sign-in#{code}")  # the same document as before: nothing is loaded for a fragment
    page.wait_for_url(f"{url}/")
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert code not in page.evaluate("document.documentElement.outerHTML + location.href")

    page.goto("about:blank")
    page.goto(f"{url}/sign-in#{code}")
    page.locator("#headline", has_text="Not signed in").wait_for()
    assert "ncia login --browser" in page.locator("#said").inner_text()
    context.close()
    assert wrong == []


def test_the_console_says_whose_it_is_and_is_left_by_a_button(browser: Any, served: tuple[World, str]) -> None:
    world, url = served
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}/sign-in#{code_of(world, 'kim')}")
    page.wait_for_url(f"{url}/")
    account = page.locator("#account")
    account.wait_for()
    assert account.inner_text().startswith("kim · ")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # also on a phone
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{url}/sign-in")
    page.goto(url)
    assert page.url == f"{url}/sign-in"
    context.close()
