"""The two ends of the receivers' socket, joined."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SystemId
from recovery.fencing.doors import open_unix
from recovery.receiving.control import ReceiverControl
from recovery.receiving.doors import routes
from recovery.receiving.receiver import Receiver, Standby
from recovery.receiving.term import Place
from tests.recovery.receiving.test_receiver import FIRST_START, Bench
from tests.recovery.scene import estate

HOMETAX, SHARE, ONNARA = SystemId("hometax"), SystemId("share"), SystemId("onnara")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.replayed = FIRST_START
    return made


@pytest.fixture
def control(bench: Bench, tmp_path: Path) -> Iterator[ReceiverControl]:
    idle = Receiver(SHARE, Place(tmp_path / "share"), bench.tools, Standby(lambda: None), lambda: 0)
    door = open_unix(tmp_path / "r.sock", routes({HOMETAX: bench.receiver, SHARE: idle}))
    yield ReceiverControl(estate(), tmp_path / "r.sock")
    door.shutdown()
    door.server_close()


def test_what_is_received_is_told_by_names_and_times(bench: Bench, control: ReceiverControl) -> None:
    bench.joined()
    bench.receive()
    told = control.received(HOMETAX)
    assert told is not None
    assert told.first_lsn == "0/1000000"
    assert told.newest_at == bench.place.newest_at(1)
    assert control.received(SHARE) is None


def test_a_hand_over_and_its_taking_back_travel_whole(bench: Bench, control: ReceiverControl) -> None:
    bench.joined()
    bench.receive()
    held = control.hand_over(HOMETAX)
    assert held is not None
    assert (held.last_record_lsn, held.segments) == ("0/1000100", 1)
    assert control.hand_over(HOMETAX) == held
    control.follow_again(HOMETAX)
    assert not bench.place.handed.exists()
    assert control.hand_over(SHARE) is None


def test_an_asynchronous_system_has_no_receiver_and_nobody_is_asked(tmp_path: Path) -> None:
    control = ReceiverControl(estate(), tmp_path / "nobody.sock")
    assert control.received(ONNARA) is None
    assert control.hand_over(ONNARA) is None
    control.follow_again(ONNARA)


def test_without_the_process_it_is_unreachable_and_what_it_refuses_is_told(
    control: ReceiverControl, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable) as caught:
        ReceiverControl(estate(), tmp_path / "nobody.sock").hand_over(HOMETAX)
    assert caught.value.hint == "ncia receiver must run at this site"
    with pytest.raises(NciaError, match="there is none here"):
        control.hand_over(SystemId("egov"))


def test_only_its_owner_may_speak_to_it(control: ReceiverControl, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "r.sock").stat().st_mode) == 0o600
