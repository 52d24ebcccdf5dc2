"""How the agent's lookout is put together from a site's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncia.app.agent import lookout_of
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import load_settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def settings(folder: Path, form: str) -> Path:
    file = folder / "site.yaml"
    file.write_text(f"site: daejeon\nestate: {CONFIGS}\nlogs: [{{files: 'log/*.log', form: {form}}}]\n")
    for name in ("state", "log"):
        (folder / name).mkdir()
    return file


def test_a_site_with_ssh_logs_alone_says_which_rules_it_can_never_fire(tmp_path: Path) -> None:
    lookout, reporter = lookout_of(load_settings(settings(tmp_path, "sshd")), SystemClock())
    inactive = {rule["title"]: rule["inactive"] for rule in lookout.rules() if rule["inactive"]}
    assert set(inactive) == {
        "A web request that reaches out of the site's folder or into its machine",
        "A web application searched for holes",
    }
    assert "no log source here is category webserver" in inactive.values()
    assert reporter.name == "unix:api.sock"


def test_a_form_that_nobody_knows_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(NciaError) as refused:
        lookout_of(load_settings(settings(tmp_path, "iis")), SystemClock())
    assert (refused.value.code, refused.value.hint) == ("agent.unknown-log", "one of sshd, nginx")
