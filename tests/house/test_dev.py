"""The repository's own command."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    loader = SourceFileLoader("dev", str(ROOT / "dev"))
    spec = spec_from_loader("dev", loader)
    assert spec is not None
    found = module_from_spec(spec)
    loader.exec_module(found)
    return found


@pytest.fixture
def lab() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lab-"))  # short: a socket's path has 107 bytes
    yield folder
    shutil.rmtree(folder)


def test_ncia_is_pointed_at_the_first_site_of_the_lab_that_answers(dev: ModuleType, lab: Path) -> None:
    doors = [lab / site / "run" / "api.sock" for site in ("east", "west")]
    for door in doors:
        door.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as living:
        dead.bind(str(doors[0]))  # nobody listens: as a site that went dark leaves it
        living.bind(str(doors[1]))
        living.listen()
        here = {"NCIA_LAB": str(lab)}
        assert dev.whom_to_ask(here) == {"NCIA_API": f"unix:{doors[1]}"}
        assert dev.whom_to_ask({**here, "NCIA_API": "https://console"}) == {}
        assert dev.whom_to_ask({**here, "NCIA_SETTINGS": "site.yaml"}) == {}
    assert dev.whom_to_ask(here) == {}


def test_what_was_compiled_is_kept_whatever_the_caller_says(dev: ModuleType) -> None:
    told = dev.surroundings({"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin", "NCIA_LAB": "/lab", "LANG": "C.UTF-8"})
    assert told == {"PATH": f"{ROOT}/.venv/bin:/usr/bin", "NCIA_LAB": "/lab", "LANG": "C.UTF-8"}
    assert dev.surroundings({})["NCIA_LAB"] == f"{ROOT}/.lab"
