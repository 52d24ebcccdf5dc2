from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ncia.cli import processes
from ncia.core.base.errors import NciaError


def test_every_process_has_a_command() -> None:
    names = {command.name or command.callback.__name__ for command in processes.app.registered_commands}  # type: ignore[union-attr]
    assert names == {
        "serve",
        "warden",
        "gate",
        "fence-watch",
        "agent",
        "worker",
        "receiver",
        "witness",
        "fence",
        "unfence",
    }


@pytest.mark.parametrize("command", ["warden", "gate", "fence-watch", "worker"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_command_starts_its_process_with_the_settings_that_it_was_given(command: str, by: str) -> None:
    arguments = [command, "--settings", "/nowhere/site.yaml"] if by == "option" else [command]
    environment = {"NCIA_SETTINGS": "/nowhere/site.yaml"} if by == "environment" else {}
    result = CliRunner().invoke(processes.app, arguments, env=environment)
    assert isinstance(result.exception, NciaError)
    assert "/nowhere/site.yaml" in str(result.exception)
