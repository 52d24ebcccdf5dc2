from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time

import pytest

from ncia.lab import proc
from ncia.lab.processes import Ledger, Record, Spec, Started, end_all, environment, start

SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); time.sleep(600)"


def spec(folder, program: str = SLEEPER) -> Spec:
    return Spec("east", "sleeper", (sys.executable, "-c", program), folder, folder.parent / "out")


def wait_for(count: int, folder) -> None:
    deadline = time.monotonic() + 10
    while len(proc.below(folder)) != count:
        assert time.monotonic() < deadline, proc.below(folder)
        time.sleep(0.005)


def test_a_process_belongs_to_the_folder_in_which_it_works_and_so_do_its_children(tmp_path):
    start(spec(tmp_path / "east", PARENT))
    wait_for(2, tmp_path / "east")
    assert proc.below(tmp_path / "eas") == ()
    assert end_all([tmp_path / "east"], [], gently=False) == 2
    assert proc.below(tmp_path) == ()


def test_processes_of_a_folder_that_is_gone_are_still_found(tmp_path):
    start(spec(tmp_path / "east"))
    wait_for(1, tmp_path / "east")
    shutil.rmtree(tmp_path / "east")
    assert end_all([tmp_path / "east"], [], gently=False) == 1


def test_one_that_ignores_being_asked_is_killed(tmp_path):
    started = start(spec(tmp_path / "east", STUBBORN))
    end_all([tmp_path / "east"], [], gently=True)
    assert not started.alive


def test_a_persons_shell_in_the_folder_is_left_alone(tmp_path):
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {SLEEPER}"],
        cwd=tmp_path,
        stdin=slave,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 10
        while proc.stat_of(shell.pid)[1][proc.TERMINAL] == "0":
            assert time.monotonic() < deadline
        assert end_all([tmp_path], [], gently=False) == 0
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()
        os.close(master)
        os.close(slave)


def test_a_number_that_another_process_has_by_now_is_not_mistaken_for_ours():
    ticks = proc.started_ticks(os.getpid())
    assert Started("east", "x", os.getpid(), ticks).alive
    assert not Started("east", "x", os.getpid(), ticks - 1).alive


def test_the_record_is_forgotten_where_the_machine_was_started_anew(tmp_path):
    ledger = Ledger(tmp_path / "lab.json")
    with ledger.changing() as box:
        box[0] = Record("another boot", (Started("east", "x", 1, 1),), ready=True)
    assert ledger.read() == Record(proc.boot_id())


@pytest.mark.parametrize("text", ["", "{", '{"boot": 1}'])
def test_a_damaged_record_is_as_none(tmp_path, text):
    (tmp_path / "lab.json").write_text(text)
    assert Ledger(tmp_path / "lab.json").read() == Record(proc.boot_id())


def test_nothing_of_our_environment_reaches_a_site(monkeypatch):
    monkeypatch.setenv("NCIA_SECRET", "x")
    assert set(environment({"A": "b"})) == {"PATH", "LANG", "TZ", "A"}
