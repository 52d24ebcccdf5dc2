"""One Chromium for each file of tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.demand import demand, lack


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = demand("chromium", "apt-get install chromium libatomic1 fonts-noto-cjk")
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        lack("playwright is not installed")
    with sync_playwright() as driver:
        try:
            launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        except Error as error:
            lack(f"chromium does not start: {str(error).splitlines()[0]}")
        yield launched
        launched.close()
