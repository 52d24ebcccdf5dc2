"""restic's own binary behind the port of engines, for an agency that keeps the one it has (0.14 or newer).

Its answers are its JSON where that version has it; its exit codes are mapped: 3 is a partial backup, never a success.
It gets its password by file, an environment of its own, and no shell.
Source: restic's manual, "Scripting" (exit codes, JSON output).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from backup.agencies.ports import (
    METADATA,
    Asked,
    Brought,
    Capabilities,
    Cleared,
    EngineFault,
    Found,
    Healed,
    Held,
    Holding,
    Kept,
    KeptTwice,
    Place,
    Share,
)
from backup.repository.format.times import moment_of
from backup.repository.location import parse_location
from ncia.core.base.errors import NciaError, Refusal

NAME = "restic"
VERSION_MIN = (0, 14)  # the first one that knows version 2 of the format
VERIFIES_WRITES = (0, 17)
PARTIAL = 3
MEANINGS = {10: "there is no repository at this place", 11: "it is locked", 12: "the password opens none of its keys"}
WORDS = (  # of versions that had but one exit code
    ("unable to open config file", 10),
    ("already locked", 11),
    ("wrong password or no key", 12),
)
VERSION = re.compile(r"restic (\d+)\.(\d+)(\.\d+\S*)?")
PATTERN = re.compile(r"[\\*?\[\]]")
ID = re.compile(r"[0-9a-f]{64}")
PASSED_ON = re.compile(r"(AWS_[A-Z_]+|SSH_AUTH_SOCK|HOME|PATH|TMPDIR|HTTPS?_PROXY|NO_PROXY|SSL_CERT_\w+)")
SECONDS_MAX = 24 * 3600.0
VERSION_SECONDS_MAX = 20.0
LOSSES_NAMED_MAX = 100
WORDS_MAX = 500  # of what it said, in an error


@dataclass
class Said:
    """One run: its exit code, the messages of its JSON, and its other lines."""

    code: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    answer: Any = None  # of a command that prints one list

    def summary(self) -> Mapping[str, Any]:
        return next((each for each in reversed(self.messages) if each.get("message_type") == "summary"), {})

    def losses(self) -> tuple[str, ...]:
        """What it says that it could not read or write."""
        found = [_loss(each) for each in self.messages if each.get("message_type") == "error"]
        found += [line for line in self.lines if line.startswith("ignoring error for ")]
        more = len(found) - LOSSES_NAMED_MAX
        return (*found[:LOSSES_NAMED_MAX], f"and {more} more") if more > 0 else tuple(found)

    def meaning(self) -> int:
        text = self.words()
        return self.code if self.code in MEANINGS else next((code for word, code in WORDS if word in text), self.code)

    def words(self) -> str:
        fatal = [str(each.get("message", "")) for each in self.messages if each.get("message_type") == "exit_error"]
        return " ".join(" ".join([*self.lines, *fatal]).split())[-WORDS_MAX:]


class ResticEngine:
    """``program`` is restic's path. ``environment`` is where the keys of a bucket and the agent's socket come from;
    nothing else of it is passed on. Without ``cache`` restic keeps none."""

    def __init__(
        self,
        program: str,
        environment: Mapping[str, str],
        cache: Path | None = None,
        seconds_max: float = SECONDS_MAX,
    ) -> None:
        self._program = program
        self._environment = {name: value for name, value in environment.items() if PASSED_ON.fullmatch(name)}
        self._cache = ("--no-cache",) if cache is None else ("--cache-dir", str(cache))
        self._seconds_max = seconds_max

    def capabilities(self) -> Capabilities:
        version, told = self._version
        return Capabilities(
            engine=NAME,
            version=told,
            verifies_writes=version >= VERIFIES_WRITES,
            verifies_restores=True,
            reads_all=True,
            reads_parts=True,
            makes_twins=False,
            writes_both=False,
            heals=False,
            forgets=True,
            prunes=True,
            retains=False,
            resumes_backups=True,
            resumes_restores=False,
            metadata=METADATA,
        )

    def init(self, place: Place, twin: Place | None = None) -> str:
        what = f"make a repository at {place.url}"
        if twin is not None:
            self.capabilities().demand("makes_twins", f"{what}, a twin of {twin.url}")
        self._done(self._run(place, "init", "--repository-version", "2"), what)
        return self._id(place, what)

    def backup(self, place: Place, asked: Asked) -> Kept:
        what = f"back up to {place.url}"
        missing = [path for path in asked.paths if not os.path.lexists(path)]  # 0.14 passes them over, with exit 0
        if len(missing) == len(asked.paths):
            raise NciaError("repository.no-source", what, f"there is nothing at {', '.join(missing) or 'no path'}")
        tags = [word for tag in asked.tags for word in ("--tag", tag)]
        paths = [path for path in map(os.path.abspath, asked.paths) if os.path.lexists(path)]
        said = self._run(place, "backup", "--json", "--quiet", "--host", asked.host, *tags, "--", *paths)
        summary = said.summary()
        if said.code not in (0, PARTIAL) or not summary.get("snapshot_id"):
            raise self._fault(said, what)
        losses = (*(f"{path}: it is not there" for path in missing), *said.losses())
        if said.code == PARTIAL and not losses:
            losses = (f"it says that something could not be read: {said.words()}",)
        made = self._of(place, str(summary["snapshot_id"]), what)
        count, size = int(summary["total_files_processed"]), int(summary["total_bytes_processed"])
        return Kept(made.snapshot, made.tree, count, size, losses)

    def backup_both(self, one: Place, other: Place, asked: Asked) -> KeptTwice:
        what = f"back up to {one.url} and {other.url} at once"
        self.capabilities().demand("writes_both", what)
        raise EngineFault("engine.cannot", what, "one after the other")

    def heal(self, place: Place, twin: Place, share: Share | None = None) -> Healed:
        what = f"mend {place.url} from {twin.url}"
        self.capabilities().demand("heals", what)
        raise EngineFault("engine.cannot", what, "it has no twins")

    def snapshots(self, place: Place) -> Holding:
        what = f"list the snapshots at {place.url}"
        found, damaged = self._listed(place, what)
        return Holding(self._id(place, what), found, damaged)

    def _listed(self, place: Place, what: str) -> tuple[tuple[Held, ...], tuple[str, ...]]:
        """Oldest first, and what else it says of them."""
        said = self._done(self._run(place, "snapshots", "--json"), what)
        try:
            found = [_held(each) for each in said.answer or ()]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineFault("engine.odd-answer", what, f"its list is not of the expected form ({error})") from error
        return tuple(sorted(found, key=lambda each: (each.at, each.snapshot))), tuple(said.lines)

    def restore(self, place: Place, snapshot: str, target: Path, paths: Sequence[str] = ()) -> Brought:
        what = f"restore snapshot {snapshot[:8]} below {target}"
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise Refusal("restore.target", what, "there is something already", "name a new or an empty folder")
        said = self._run(place, "restore", "--json", "--target", str(target), *_only(paths), snapshot)
        losses = said.losses()
        if said.code and not losses:
            raise self._fault(said, what)
        return Brought(losses)

    def check(self, place: Place, share: Share | None = None) -> Found:
        parts = () if share is None else ("--read-data-subset", f"{share.number}/{share.of}")
        said = self._run(place, "check", "--json", *parts)
        if said.code and said.meaning() in MEANINGS:
            raise self._fault(said, f"check the repository at {place.url}")
        if not said.code:
            return Found((), share is not None)
        faults = [str(each["message"]) for each in said.messages if each.get("message_type") == "error"]
        faults += [line for line in said.lines if "error" in line.lower() or line.lower().startswith("pack ")]
        return Found(tuple(faults[:LOSSES_NAMED_MAX]) or (said.words(),), share is not None)

    def forget(self, place: Place, snapshots: Sequence[str]) -> None:
        what = f"forget {len(snapshots)} snapshots at {place.url}"
        if snapshots:
            self._done(self._run(place, "forget", "--json", "--", *snapshots), what)

    def prune(self, place: Place) -> Cleared:
        """At once: restic knows no grace. It tells no bytes; packs are counted before and after."""
        what = f"prune the repository at {place.url}"
        before = self._packs(place, what)
        self._done(self._run(place, "prune"), what)
        return Cleared(0, 0, len(before - self._packs(place, what)), None)

    def _packs(self, place: Place, what: str) -> frozenset[str]:
        return frozenset(
            line for line in self._done(self._run(place, "list", "packs"), what).lines if ID.fullmatch(line)
        )

    @cached_property
    def _version(self) -> tuple[tuple[int, int], str]:
        """As a pair, and as it tells it. One that does not know the format is refused."""
        what = f"ask {self._program} for its version"
        try:
            told = subprocess.run(
                [self._program, "version"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=VERSION_SECONDS_MAX,
            ).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise EngineFault("engine.none", what, why, "install restic 0.14 or newer") from error
        found = VERSION.match(told)
        if found is None:
            raise EngineFault("engine.none", what, f"it says {told[:80]!r}: this is no restic")
        version = (int(found[1]), int(found[2]))
        if version < VERSION_MIN:
            why = f"it is {found[0].removeprefix('restic ')}, which does not know version 2 of the format"
            raise EngineFault("engine.too-old", what, why, "install restic 0.14 or newer")
        return version, found[0].removeprefix("restic ")

    def _of(self, place: Place, id_: str, what: str) -> Held:
        """A snapshot by its id, of which older versions tell the beginning only."""
        found = [each for each in self._listed(place, what)[0] if each.snapshot.startswith(id_)]
        if len(found) != 1:
            raise EngineFault("engine.not-kept", what, f"it says that it made {id_}, and {len(found)} are there")
        return found[0]

    def _id(self, place: Place, what: str) -> str:
        config = self._done(self._run(place, "cat", "config"), what).answer
        if not isinstance(config, dict) or "id" not in config:
            raise EngineFault("engine.odd-answer", what, "it does not tell the repository's id")
        return str(config["id"])

    def _done(self, said: Said, what: str) -> Said:
        if said.code:
            raise self._fault(said, what)
        return said

    def _fault(self, said: Said, what: str) -> NciaError:
        meaning = said.meaning()
        why = f"{MEANINGS.get(meaning, f'restic ended with {said.code}')}: {said.words() or 'it said nothing'}"
        if meaning == 11:
            return Refusal("repository.locked", what, why, "wait for whoever holds it")
        code = {10: "repository.none", 12: "repository.wrong-password"}.get(meaning, "engine.failed")
        return EngineFault(code, what, why)

    def _run(self, place: Place, verb: str, *arguments: str) -> Said:
        """One command; its words are read to their end. It does not outlive us, nor the most seconds."""
        _ = self._version
        parse_location(place.url)  # refuses a URL that holds a password
        command = [self._program, f"--repo={place.url}", f"--password-file={place.password_file}", *self._cache]
        command += [*(("-o", f"sftp.command={place.ssh}") if place.ssh else ()), verb]
        what = f"run restic {verb} at {place.url}"
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as wailed:
            try:
                with subprocess.Popen(
                    [*command, *arguments],
                    env={**self._environment, **place.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=wailed,
                ) as process:
                    code = _ended(process, self._seconds_max)
            except OSError as error:
                raise EngineFault("engine.none", what, error.strerror or str(error)) from error
            except subprocess.TimeoutExpired as error:
                raise EngineFault("engine.silent", what, f"it did not end within {self._seconds_max:g} s") from error
            said = Said(code)
            for file in (told, wailed):
                file.seek(0)
                _read(said, (line.decode(errors="replace").rstrip("\r\n") for line in file))
            return said


def _only(paths: Sequence[str]) -> list[str]:
    """Its patterns, of names in which nothing stands for anything else."""
    return [word for path in paths for word in ("--include", PATTERN.sub(r"\\\g<0>", path))]


def _ended(process: subprocess.Popen[bytes], seconds_max: float) -> int:
    try:
        return process.wait(seconds_max)
    except BaseException:  # Ctrl-C too; raised again at once
        process.terminate()  # it gives its lock back
        try:
            process.wait(VERSION_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def _read(said: Said, lines: Iterator[str]) -> None:
    """Messages, a list on one line, a document on several, or words for people."""
    words: list[str] = []
    for line in lines:
        try:
            read = json.loads(line)
        except ValueError:
            words.append(line)
            continue
        if isinstance(read, dict) and "message_type" in read:
            said.messages.append(read)
        elif isinstance(read, list | dict):
            said.answer = read
        else:
            words.append(line)
    try:
        said.answer = json.loads("\n".join(words)) if words and said.answer is None else said.answer
    except ValueError:
        said.lines += [line for line in words if line.strip()]


def _loss(message: Mapping[str, Any]) -> str:
    error = message.get("error")
    why = (
        error.get("message") or f"{error.get('Op', 'error')} {error.get('Err', '')}"
        if isinstance(error, dict)
        else error
    )
    return f"{message.get('item') or 'something'}: {why or message.get('message') or 'an error'}"


def _held(told: Mapping[str, Any]) -> Held:
    return Held(
        snapshot=str(told["id"]),
        tree=str(told["tree"]),
        at=moment_of(str(told["time"])),
        host=str(told.get("hostname", "")),
        tags=tuple(map(str, told.get("tags") or ())),
        paths=tuple(map(str, told.get("paths") or ())),
    )
