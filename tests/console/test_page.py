"""The page as the server gives it, before any browser."""

import json
import re
from dataclasses import replace
from pathlib import Path

from ncia.console import STATIC, page
from tests.console import sample


def embedded(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="first-status">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_the_page_carries_the_view_that_it_shows_first() -> None:
    status = sample.burning()
    assert embedded(page(status)) == json.loads(json.dumps(status.to_json()))


def test_nothing_in_a_view_can_leave_its_place() -> None:
    status = sample.burning()
    hostile = replace(status, incidents=(replace(status.incidents[0], sentence="</script><script>alert(1)</script>"),))
    assert "<script>alert" not in page(hostile)


def test_nothing_comes_from_elsewhere() -> None:
    texts = [page(sample.calm()), *(file.read_text() for file in Path(STATIC).iterdir())]
    assert not any(re.search(r"https?://|@import", text) for text in texts)


def test_the_page_and_its_script_never_mix_versions() -> None:
    assert re.search(r"/static/console\.js\?v=[0-9a-f]{12}", page(sample.calm()))
