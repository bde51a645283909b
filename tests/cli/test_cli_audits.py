"""`archipel audits`, `node reputation`, `node disputes`, `node contest`: from a ledger, and to a lab that runs."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.identity import Identity
from archipel.lab.audits import audits
from archipel.ledger.verification import lab_key
from cli_words import told
from golden import audited, not_contested
from live import live
from people import identity
from world import World


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lab in which one node made an answer up and another is honest."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
        world = World(folder)
    audited(world, world.learner())
    world.close()
    return folder


def test_every_case_is_told_with_its_reason_and_what_followed(place: Path) -> None:
    code, found = told("audits", "--ledger", place / "ledger.sqlite", "--json")
    assert code == 0
    assert found["runs"]["watched"]["open"] == 0
    hard = [case for case in found["cases"] if case["outcome"] == "hard"]
    assert [case["node"] for case in hard] == [identity("cheat").did]
    assert hard[0]["contested"] == "my memory is fine"
    assert hard[0]["final"]
    assert "token 3 was recorded, 4 is right" in hard[0]["reason"]
    assert hard[0]["taken_back_micro"] > 0
    assert len({each["auditor"] for each in hard[0]["opinions"]}) == len(hard[0]["opinions"]) >= 2
    words = CliRunner().invoke(
        command, ["audits", "watched", "--ledger", str(place / "ledger.sqlite")]
    )
    assert f"hard: {hard[0]['work']} of ..{identity('cheat').did[-12:]}" in words.output


def test_a_node_s_reputation_and_disputes_are_recomputed(place: Path) -> None:
    cheat, ledger = identity("cheat").did, place / "ledger.sqlite"
    code, found = told("node", "reputation", "--all", "--ledger", ledger, "--json")
    assert code == 0
    rows = {row["node"]: row for row in found["nodes"]}
    assert rows[cheat]["hard"] == 1
    assert rows[cheat]["quarantine"] is not None
    assert rows[cheat]["next_audited_micro"] == 1_000_000
    honest = max(rows.values(), key=lambda row: row["verified"])
    assert honest["next_audited_micro"] < 1_000_000
    code, found = told("node", "disputes", "--node", cheat, "--ledger", ledger, "--json")
    assert [each["outcome"] for each in found["disputes"]] == ["hard"]
    words = ["node", "disputes", "--node", cheat, "--ledger", str(ledger)]
    assert "final: the trusted role has decided" in CliRunner().invoke(command, words).output


def test_a_node_contests_at_a_lab_that_runs(tmp_path: Path) -> None:
    world = World()
    home = tmp_path / "node"
    home.mkdir()
    who = Identity.load_or_create(home / "node.key")
    work = not_contested(world, world.learner(), who)
    words = ["node", "contest", work, "--reason", "no", "--node-home", str(home), "--json", "--lab"]

    async def story() -> Result:
        async with live(world) as url:
            return await asyncio.to_thread(CliRunner().invoke, command, [*words, url])

    ended = world.await_(story())
    assert ended.exception is None, ended.output
    assert json.loads(ended.output)["work"] == work
    assert audits(world.run("watched")).cases[work].contested == "no"
    world.close()
