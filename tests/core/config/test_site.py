"""A site's own settings."""

from pathlib import Path

import pytest

from ncia.core.base.errors import InputFaults, NciaError
from ncia.core.config import load_settings


def test_every_path_is_absolute_and_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: north\nestate: ../configs\nstate: state\npostgresql_tools: /opt/pg/bin\n")
    settings = load_settings(file)
    assert settings.site == "north"
    assert settings.estate == tmp_path.parent / "configs"
    assert settings.state == tmp_path / "state"
    assert settings.postgresql_tools == Path("/opt/pg/bin")
    assert settings.run == tmp_path / "run"
    assert settings.journal_url == f"sqlite:///{tmp_path}/state/journal.db"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("site: north\nestate: configs\n")
    monkeypatch.setenv("NCIA_SETTINGS", str(tmp_path / "site.yaml"))
    assert load_settings().site == "north"


def test_no_file_named_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCIA_SETTINGS", raising=False)
    with pytest.raises(NciaError) as caught:
        load_settings()
    assert caught.value.code == "config.no-settings"
    assert "--settings" in caught.value.hint


def test_faults_of_a_site_file_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: North Site\nstat: state\n")
    with pytest.raises(InputFaults) as caught:
        load_settings(file)
    assert sorted((f.line, f.what) for f in caught.value.faults) == [
        (1, "site settings: 'site' is 'North Site'"),
        (1, "site settings: key 'estate' is missing"),
        (2, "site settings: unknown key 'stat'"),
    ]


@pytest.mark.parametrize("text", ["", "- a list\n", "site: [\n"])
def test_what_is_no_settings_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(InputFaults):
        load_settings(tmp_path / "site.yaml")


def test_logs_are_named_by_a_pattern_below_a_folder_and_by_their_form(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "site: north\nestate: configs\nlogs:\n"
        "  - {files: log/hosts/*/auth.log, form: sshd}\n"
        "  - {files: /var/log/nginx/access.log, form: nginx}\n"
    )
    assert [(logs.root, logs.pattern, logs.form) for logs in load_settings(tmp_path / "site.yaml").logs] == [
        (tmp_path / "log" / "hosts", "*/auth.log", "sshd"),
        (Path("/var/log/nginx"), "access.log", "nginx"),
    ]


def test_a_log_without_a_form_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: north\nestate: configs\nlogs:\n  - {files: x.log}\n")
    with pytest.raises(InputFaults) as caught:
        load_settings(tmp_path / "site.yaml")
    assert [(f.line, f.what) for f in caught.value.faults] == [(4, "site settings, logs: key 'form' is missing")]
