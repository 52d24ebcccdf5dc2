"""The real restic, as a referee: the one on PATH where it is new enough, else Debian's newest, fetched once.

Its package is downloaded by apt from the mirror that this machine already uses, with package lists of its own, and
unpacked, not installed; apt checks the archive's signature. What was unpacked stays in the user's cache.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.demand import lack

VERSION_MIN = (0, 19)
VERSION_OF_FORMAT_2 = (0, 14)
SUITE = "sid"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
MIRROR = re.compile(r"(?m)^\s*(?:URIs:\s*|deb\s+(?:\[[^\]]*\]\s*)?)(https?://\S+?/debian)/?(?:\s|$)")
FETCH_SECONDS_MAX = 120


@dataclass(frozen=True)
class Restic:
    """The program, told by :meth:`run` which repository and password to use."""

    program: Path

    @property
    def old(self) -> bool:
        """Before 0.19: links to what is no UTF-8 were not kept, and keys are written down clamped."""
        return version_of(self.program) < VERSION_MIN

    def run(self, repository: Path | str, *arguments: str, password: str, ok: bool = True) -> str:
        """What it says; with ``ok`` it must succeed, and the test fails with its words where it does not."""
        told = subprocess.run(
            [str(self.program), "-r", str(repository), "--no-cache", *arguments],
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "RESTIC_PASSWORD": password},
            capture_output=True,
            text=True,
            errors="replace",
        )
        said = told.stdout + told.stderr
        if ok != (told.returncode == 0):
            raise AssertionError(f"restic {' '.join(arguments)} ended with {told.returncode}: {said}")
        return said


class NotHad(Exception):
    """restic 0.19 cannot be had here, and why."""


def demand_restic() -> Restic:
    """restic 0.19 or newer; where it cannot be had, the one on PATH from 0.14 on, which knows the format too. None at
    all: the test is skipped, or fails where everything is demanded."""
    found = shutil.which("restic")
    on_path = Restic(Path(found)) if found and version_of(Path(found)) >= VERSION_OF_FORMAT_2 else None
    if on_path is not None and version_of(on_path.program) >= VERSION_MIN:
        return on_path
    try:
        return newest()
    except NotHad as reason:
        if on_path is None:
            lack(str(reason))
            raise AssertionError from reason
        return on_path


def newest() -> Restic:
    """restic 0.19 or newer from Debian's newest suite; raises :class:`NotHad`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ncia" / "restic"
    program = home / "unpacked" / "usr" / "bin" / "restic"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            fetch(home, "restic")
    if version_of(program) < VERSION_MIN:
        raise NotHad(f"restic in {home} is older than 0.19")
    return Restic(program)


def version_of(program: Path) -> tuple[int, ...]:
    try:
        told = subprocess.run([str(program), "version"], capture_output=True, text=True).stdout
    except OSError:
        return ()
    found = re.match(r"restic (\d+)\.(\d+)", told)
    return tuple(map(int, found.groups())) if found else ()


def fetch(home: Path, package: str) -> None:
    """Download and unpack a package; a half of it is never taken for it."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NotHad(f"{package} is not installed, and without {tool} it cannot be fetched")
    mirror = mirror_of(text for path in SOURCES for text in texts(path))
    if mirror is None or not KEYRING.exists():
        raise NotHad(f"{package} is not installed, and this machine's apt knows no Debian mirror")
    work = home / "work"
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "parts", "tmp"):
        (work / folder).mkdir(parents=True)
    (work / "parts" / "newer.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
    (work / "apt.conf").write_text(
        f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{work}/parts";\nDir::State::Lists "{work}/lists";\n'
        f'Dir::Cache "{work}/cache";\nAPT::Sandbox::User "";\nDebug::NoLocking "true";\n'
    )
    try:
        for arguments in (("update", "-q"), ("download", "-q", package)):
            asked(work, "apt-get", *arguments)
        (file,) = work.glob(f"{package}_*.deb")
        asked(work, "dpkg-deb", "-x", str(file), str(work / "unpacked"))
        (work / "unpacked").rename(home / "unpacked")
    except (subprocess.SubprocessError, ValueError, OSError) as error:
        raise NotHad(f"{package} is not installed, and fetching it failed: {str(error)[-500:]}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def asked(work: Path, *command: str) -> None:
    environment: dict[str, Any] = {**os.environ, "APT_CONFIG": str(work / "apt.conf"), "TMPDIR": str(work / "tmp")}
    subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True, timeout=FETCH_SECONDS_MAX)


def texts(path: Path) -> list[str]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file.read_text() for file in files if file.is_file()]


def mirror_of(sources: Any) -> str | None:
    """The first Debian mirror of apt's own sources."""
    return next((found[1] for text in sources if (found := MIRROR.search(text))), None)
