"""What is missing is never silent: skipped with its reason, or failed where all of it is demanded."""

import pytest

from tests.demand import DEMAND, demand

MISSING = "no-such-tool-anywhere"


def test_a_missing_tool_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEMAND, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{MISSING} is not installed"):
        demand(MISSING)


def test_a_missing_tool_fails_where_everything_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEMAND, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{MISSING} is not installed"):
        demand(MISSING)


def test_a_tool_that_is_there_answers_its_path() -> None:
    assert demand("sh").endswith("/sh")
