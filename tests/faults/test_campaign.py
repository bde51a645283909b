"""A campaign goes on from where it stood, tells what was hit, and its faults take hold and are taken back."""

import asyncio
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from archipel.blobs import BlobStore
from faults import afflictions, doors
from faults.answering import receipts
from faults.evidence import CHECKS
from faults.kept import WORLDS, Ended, Kept
from faults.labs import Labs
from faults.proxy import KEPT_WHOLE, SPOILING, BadNetwork
from faults.session import KINDS, Campaign
from faults.stores import FOLDER, POSTGRES, Store, lost
from faults.storm import ODDS
from faults.telling import hit, table
from faults.watching import SAYS_WHERE, last_traceback, made_to_end
from faults.worlds import Bench, Told, role


@pytest.fixture
def asleep() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "30"]) as process:
        yield process
        process.kill()


def _campaign(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lived: list[int]
) -> Callable[[range, int | None], Campaign]:
    def one(seed: int, bench: Bench, place: Path) -> Told:
        lived.append(seed)
        return Told([], 20, "well", Counter({"kill: lab": 15, "stall: node": 5}))

    monkeypatch.setitem(KINDS, "storm", one)

    def run(seeds: range, enough: int | None) -> Campaign:
        campaign = Campaign(Bench(folder, folder, []), False, lambda line: None, Kept(folder))
        assert campaign.run(["storm"], seeds, time.monotonic() + 60, enough)
        return campaign

    return run


def test_a_campaign_goes_on_from_the_worlds_that_are_over_and_ends_when_there_were_faults_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived: list[int] = []
    run = _campaign(tmp_path, monkeypatch, lived)
    run(range(2), None)
    with (tmp_path / WORLDS).open("a") as file:
        file.write('{"kind": "storm", "seed": 2, "sec')  # it was stopped while it wrote
    campaign = run(range(9), 75)
    assert lived == [0, 1, 2, 3], "no world is lived twice, and 80 faults are enough"
    assert [each.seed for each in Kept(tmp_path).ended] == lived
    assert campaign.kept.faults == 80
    assert "kill               lab 60" in hit(campaign.ended)
    assert table(campaign.ended).splitlines()[1].split()[:4] == ["storm", "4", "80", "0"]


def test_a_world_that_is_wrong_is_told_with_the_line_that_lives_it_again() -> None:
    told = Ended("model's door", 7, 3.0, 2, ["x is lost"], "killed").failure()
    assert "x is lost" in told
    assert "FIRST=7" in told
    assert '--only "model\'s door"' in told


def test_every_resource_is_taken_away_and_given_back(asleep: "subprocess.Popen[bytes]") -> None:
    rng, limits = random.Random(1), (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)  # fmt: skip
    before = [resource.prlimit(asleep.pid, each) for each in limits]
    undo = [afflictions.SHORT_OF[what]([asleep.pid], rng) for what in ("descriptors", "memory", "full disk")]  # fmt: skip
    squeezed = [resource.prlimit(asleep.pid, each)[0] for each in limits]
    assert squeezed[0] < 30
    assert squeezed[1] < 2**30
    assert squeezed[2] <= 110_000
    for each in undo:
        each()
    assert [resource.prlimit(asleep.pid, each) for each in limits] == before


def test_who_sleeps_wakes_and_who_is_gone_is_nobodys_trouble(
    asleep: "subprocess.Popen[bytes]",
) -> None:
    state = Path(f"/proc/{asleep.pid}/stat")
    wake = afflictions.stalled([asleep.pid], random.Random(1))
    _until(lambda: state.read_text().split()[2] == "T")
    wake()
    _until(lambda: state.read_text().split()[2] != "T")
    asleep.send_signal(signal.SIGKILL)
    asleep.wait()
    for begin in afflictions.SHORT_OF.values():
        begin([asleep.pid], random.Random(1))()


def test_words_that_ours_should_have_said_are_never_borne_as_pythons_own(tmp_path: Path) -> None:
    """A program that is short of memory before its first line cannot say so; later it can."""
    frames = 'Traceback (most recent call last):\n  File "/a/archipel/cli/archipel.py", line 9, in {}\nMemoryError\n'
    said = {}
    for where in ("_run", "<module>"):
        (tmp_path / "door.out").write_text(frames.format(where))
        said[where] = str(last_traceback(tmp_path / "door.out"))
    assert [said[each].startswith(afflictions.STARVED) for each in ("<module>", "_run")] == [
        True,
        False,
    ]


def test_who_does_not_end_says_where_it_stood_and_is_gone(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-S", "-c", deaf], stdout=subprocess.PIPE, stderr=said, env=SAYS_WHERE
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGSTOP)
        made_to_end(process)
    assert process.returncode == -signal.SIGABRT
    assert 'File "<string>", line 1 in <module>' in (tmp_path / "said").read_text()
    assert last_traceback(tmp_path / "said") is None, "it is no traceback of an exception"


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_spoilt_copy_differs_in_one_bit_and_a_stepped_clock_is_far_off(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(500))
    assert afflictions.spoilt([tmp_path / "empty", copy, tmp_path / "absent"], random.Random(2))
    assert sum(each.bit_count() for each in copy.read_bytes()) == 1
    assert not afflictions.spoilt([tmp_path / "empty"], random.Random(2))
    afflictions.stepped(tmp_path / "clock", random.Random(3))
    assert abs(float((tmp_path / "clock").read_text().split()[0])) in afflictions.STEPS_S


def test_a_blob_that_is_gone_or_other_bytes_is_lost(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    whole, spoilt = blobs.put_bytes(b"whole"), blobs.put_bytes(b"spoilt")
    name = spoilt.removeprefix("sha256:")
    path = tmp_path / name[:2] / name[2:]
    path.chmod(0o600)
    path.write_bytes(b"spoilT")
    absent = "sha256:" + "0" * 64
    assert sorted(lost(blobs, {whole, spoilt, absent})) == sorted([spoilt, absent])
    assert "blobs" in [check.__name__ for check in CHECKS]


def test_what_is_parted_hears_nothing_until_it_is_healed_and_loses_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as echo:
        threading.Thread(target=_echoed, args=(echo,), daemon=True).start()
        network = BadNetwork(echo.getsockname()[1], "seed", 0)
        network.open()
        network.part()
        with socket.create_connection(("127.0.0.1", network.port), timeout=10.0) as connection:
            connection.sendall(b"through")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(10)
            network.heal()
            connection.settimeout(10.0)
            assert connection.recv(10) == b"through"
        network.close()
    assert network.faults == {"partition": 1}
    assert set(SPOILING) - set(KEPT_WHOLE) == {"garble", "repeat"}


def _echoed(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, suppress(ConnectionError):
        connection.sendall(connection.recv(100))


def test_who_is_patient_asks_again_and_tells_of_an_answer_that_must_not_be() -> None:
    answers = [httpx.ReadTimeout("x"), *(httpx.Response(code) for code in (503, 500, 429, 404))]
    told: list[str] = []

    async def ask() -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.MonkeyPatch.context() as patch:
        real = asyncio.sleep
        patch.setattr("faults.doors.asyncio.sleep", lambda seconds: real(0))
        answer = asyncio.run(doors.patiently(ask, told.append))
    assert answer.status_code == 404
    assert told == ["it answered 500: "]


def test_receipts_that_are_no_chain_or_none_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "receipts.jsonl").write_bytes(b"")
    assert receipts(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b'{"a": 1}\n')
    assert "no chain" in receipts(tmp_path)[0]


def test_every_target_of_a_storm_is_named_by_what_it_is_for() -> None:
    assert [role(name) for name in ("node12", "lab", "second")] == ["node", "lab", "second"]
    assert set(afflictions.SHORT_OF) < set(ODDS)


def test_a_store_without_a_server_has_no_faults_of_its_own() -> None:
    class Made:
        store = Store(FOLDER)

    labs = Labs(Made(), "seed")  # type: ignore[arg-type]
    assert labs.names == ["lab"]
    assert labs.of_the_store(random.Random(1)) is None
    Made.store = Store(POSTGRES, ledger="postgresql://nowhere")
    found = labs.of_the_store(random.Random(1))
    assert found is not None
    assert found[0] in ("ended sessions", "stall")
