"""How many processes share an update, where they meet, and hosts that lend theirs."""

import asyncio
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.update import command
from archipel.node import lending
from archipel.node.home import ready_home, setup_of
from archipel.node.lending import Lending, lend
from archipel.node.ranks import ALONE, LOOPBACK, Ranks
from archipel.node.settings import NodeSettings
from archipel.node.worker import Worker
from archipel.node.worker_start import meeting_in, near_program, program
from archipel.records.kinds import TRUSTED_ROLE

PLACE = "first.example:29400"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((0,), "0 ranks"),
        ((65,), "65 ranks"),
        ((1, 2, 0, ""), "no place to meet"),
        ((2, 1, 0, PLACE), "one host names none"),
        ((1, 2, 2, PLACE), "host 2 of 2"),
        ((1, 2, -1, PLACE), "host -1 of 2"),
        ((1, 2, 1, "first.example"), "expected HOST:PORT"),
        ((1, 2, 1, ":29400"), "expected HOST:PORT"),
        ((1, 2, 1, "first:0"), "expected HOST:PORT"),
        ((1, 2, 1, "first:65536"), "expected HOST:PORT"),
        ((1, 2, 1, "first:²"), "expected HOST:PORT"),
    ],
)
def test_ranks_that_could_not_meet_are_refused(fields: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Ranks(*fields)


def words(ranks: Ranks, tmp_path: Path) -> list[str]:
    return program(ranks, setup_of(NodeSettings(lab_url="", home=tmp_path)))


def test_a_rank_has_its_number_by_its_host_and_is_told_how_many_hosts_there_are(
    tmp_path: Path,
) -> None:
    told = words(Ranks(4, 3, 2, "[fd00::1]:29400"), tmp_path)
    assert {"--nnodes=3", "--node-rank=2", "--nproc-per-node=4"} <= set(told)
    assert {"--master-addr=fd00::1", "--master-port=29400"} <= set(told)
    assert "--standalone" not in told
    assert told[-1] == "3"
    assert words(ALONE, tmp_path) == ["-m", "archipel.work.child"]


def test_ranks_of_one_host_meet_in_files_that_only_their_user_can_write(tmp_path: Path) -> None:
    """A pickle is read of who has come: from a port it would be anybody's, from a child's folder the child's."""
    setup = ready_home(NodeSettings(lab_url="", home=tmp_path), ())
    folder, near = meeting_in(tmp_path, Ranks(2))
    assert folder is not None
    told = near_program(Ranks(2), setup, folder)
    assert "--standalone" not in told
    assert "--rdzv-conf=store_type=file" in told
    (file,) = [Path(each.partition("=")[2]) for each in told if "--rdzv-endpoint=" in each]
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert not any(file.is_relative_to(each) for each in (setup.scratch, setup.memory))
    hosts, number, world, met = told[-4:]
    assert (hosts, number, world) == ("1", "${local_rank}", "2")
    assert Path(met).parent == setup.scratch
    assert near["GLOO_SOCKET_IFNAME"] == near["NCCL_SOCKET_IFNAME"] == LOOPBACK
    assert near_program(Ranks(2), setup, folder)[-1] != met, "a file of an earlier meeting"
    file.touch()
    assert not any(meeting_in(tmp_path, Ranks(2))[0].iterdir())
    assert meeting_in(tmp_path, ALONE) == meeting_in(tmp_path, Ranks(1, 2, 0, PLACE)) == (None, {})


def listening(home: Path) -> list[str]:
    """Addresses, in the kernel's words, at which processes that were told of this home wait for connections."""
    held = set[str]()
    for process in Path("/proc").iterdir():
        try:
            if str(home).encode() in (process / "cmdline").read_bytes():
                held |= {str(each.readlink()) for each in (process / "fd").iterdir()}
        except OSError:
            continue
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    waiting = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held]
    return [row[1].partition(":")[0] for row in waiting]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_nobody_reaches_ranks_of_one_host_from_another(tmp_path: Path) -> None:
    settings = NodeSettings(lab_url="", home=tmp_path, kinds=TRUSTED_ROLE, ranks=Ranks(2))
    environment = {"PATH": os.defpath, "TMPDIR": str(tmp_path / "scratch")}

    async def story() -> list[str]:
        setup = ready_home(settings, ())
        worker = await Worker.start(setup, environment, tmp_path / "log", settings.ranks)
        try:
            return listening(tmp_path)
        finally:
            await worker.close()

    found = asyncio.run(story())
    assert found, "they do talk"
    assert {*found} == {"0100007F"}, "127.0.0.1 alone"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["join", "http://lab:1", "--hosts", "2"], "no place to meet"),
        (["join", "http://lab:1", "--ranks", "2", "--device", "xpu"], "cpu or cuda"),
        (["ranks", "--hosts", "2", "--host-rank", "2", "--rendezvous", PLACE], "host 2 of 2"),
        (["ranks", "--hosts", "1", "--host-rank", "1"], "host 1 of 1"),
    ],
)
def test_a_command_refuses_what_cannot_meet_before_it_makes_anything(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    home = tmp_path / "home"
    found = CliRunner().invoke(command, [*arguments, "--home", str(home)])
    assert found.exit_code == 2
    assert said in " ".join(found.output.replace("│", " ").split())
    assert not home.exists()


def test_a_host_that_lends_starts_its_ranks_again_and_ends_them_when_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones end at once, as when the first host is not there; the next stay."""
    python, here = tmp_path / "python", tmp_path / "here"
    python.write_text(
        f"#!/bin/sh\nif [ -e '{here}' ]; then echo $$ > '{here}'; exec sleep 60; fi\n"
        f": > '{here}'\nexit 3\n"
    )
    python.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr(lending, "FIRST_PAUSE_S", 0.01)
    setup = setup_of(NodeSettings(lab_url="", home=tmp_path))
    lent = Lending(Ranks(1, 2, 1, PLACE), setup, {"PATH": os.defpath}, tmp_path / "log")
    told: list[str] = []

    async def story() -> int:
        task = asyncio.create_task(lend(lent, told.append))
        async with asyncio.timeout(30):
            while not (here.exists() and here.read_text().strip()):  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return int(here.read_text())

    process = asyncio.run(story())
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert [line for line in told if "ended with code 3" in line]
