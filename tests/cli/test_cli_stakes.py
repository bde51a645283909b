"""`archipel node stake`, `lab vouch` and `node decoy`, at a lab that runs."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.cli.node_stake import _commit
from archipel.identity import Identity
from archipel.lab.audits import audits
from archipel.lab.stakes import staked_micro
from archipel.node.decoys import FILE, at_work, kept
from archipel.node.exchange import LabUnreachable
from archipel.records.audits import AuditTerms
from courtroom import opened
from live import live
from people import identity
from world import World

TERMS = AuditTerms(floor_micro=20_000, pay_milli=500, deadline_ms=10_000, window_ms=60_000, stake=3)


class Desk:
    """Commands to one lab, by its operator and one node."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home
        self.node = Identity.load_or_create(home / "node.key")

    def refused(self, *words: str) -> str:
        """Why a command came to nothing."""
        ended = self.says(*words)
        assert ended.exit_code
        return f"{ended.exception} {ended.output}"

    def says(self, *words: str) -> Result:
        async def story() -> Result:
            async with live(self.world) as url:
                return await asyncio.to_thread(CliRunner().invoke, command, [*words, "--lab", url])

        return self.world.await_(story())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    home = tmp_path / "node"
    home.mkdir()
    world = World(tmp_path / "lab", ledger_on_disk=False)
    opened(world, TERMS)
    monkeypatch.setattr("archipel.cli.node_stake.operator_key", lambda key: identity("operator"))
    yield Desk(world, home)
    world.check_replay()
    world.close()


def test_an_operator_vouches_and_the_node_sees_its_stake_and_cannot_put_in_what_it_lacks(
    desk: Desk,
) -> None:
    ended = desk.says("lab", "vouch", desk.node.did, "0.05")
    assert ended.exit_code == 0, ended.output
    assert staked_micro(desk.world.state, desk.node.did) == 50_000
    home = ("--node-home", str(desk.home))
    assert "the balance is 0" in desk.refused("node", "stake", "--put", "0.01", *home)
    assert "give one of them" in desk.refused("node", "stake", "--put", "1", "--back", *home)
    ended = desk.says("node", "stake", "--back", "--json", *home)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.output) == {
        "node": desk.node.did, "credit_micro": 0, "stake_micro": 0
    }, "a key that never joined is no node, and its stake is its own again"  # fmt: skip
    assert desk.world.state.book[desk.node.did] == 50_000


@pytest.mark.slow
def test_a_decoy_is_committed_to_kept_and_revealed_once(desk: Desk) -> None:
    home = ("--node-home", str(desk.home))
    assert "is no decoy in run" in desk.refused("node", "decoy", "run", "--reveal", *home)
    ended = desk.says("node", "decoy", "run", "--share", "0.5", *home)
    assert ended.exit_code == 0, ended.output
    made = kept(desk.home)
    assert made is not None
    assert made.share_milli == 500
    assert made.commitment(desk.node.did) in audits(desk.world.run()).plants
    assert "reveal that decoy first" in desk.refused("node", "decoy", "run", *home)
    ended = desk.says("node", "decoy", "run", "--reveal", *home)
    assert ended.exit_code == 0, ended.output
    assert not audits(desk.world.run()).plants
    assert not (desk.home / FILE).exists()


def test_a_decoy_that_the_lab_refuses_leaves_nothing_behind(desk: Desk) -> None:
    home = ("--node-home", str(desk.home))
    assert "no run elsewhere" in desk.refused("node", "decoy", "elsewhere", *home)
    assert not (desk.home / FILE).exists()


@pytest.mark.parametrize("arrived", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_decoy_whose_commitment_nobody_confirmed_is_kept_and_finished_by_the_same_command(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    home = ("--node-home", str(desk.home))

    async def cut_off(url: str, operator: Identity, run: str, digest: str) -> None:
        if arrived:
            await _commit(url, operator, run, digest)
        raise LabUnreachable("the wire broke")

    with monkeypatch.context() as bad:
        bad.setattr("archipel.cli.node_stake._commit", cut_off)
        assert "the wire broke" in desk.refused("node", "decoy", "run", *home)
    before = kept(desk.home)
    assert before is not None
    assert not before.is_committed
    assert (desk.home / FILE).stat().st_mode & 0o777 == 0o600
    assert "finish it first" in desk.refused("node", "decoy", "run", "--reveal", *home)
    assert "is there already" in desk.refused("node", "decoy", "run", "--share", "0.7", *home)
    ended = desk.says("node", "decoy", "run", *home)
    assert ended.exit_code == 0, ended.output
    assert at_work(desk.home) == replace(before, is_committed=True)
    assert list(audits(desk.world.run()).plants) == [before.commitment(desk.node.did)]
    assert desk.says("node", "decoy", "run", "--reveal", *home).exit_code == 0


@pytest.mark.slow
def test_a_sealed_nodes_key_opens_by_its_passphrase_wherever_it_speaks(desk: Desk) -> None:
    word, home = desk.home / "word", ("--node-home", str(desk.home))
    word.write_text("a word\n")
    word.chmod(0o600)
    desk.node.save(desk.home / "node.key", b"a word", anew=True)
    for words in (("node", "stake"), ("node", "decoy", "run")):
        ended = desk.says("--passphrase-file", str(word), *words, *home, "--json")
        assert ended.exit_code == 0, ended.output
        assert json.loads(ended.output)["node"] == desk.node.did
