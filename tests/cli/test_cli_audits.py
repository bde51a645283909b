"""`archipel audits`, `node reputation`, `node disputes`, `node contest`: from a ledger, and to a lab that runs."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.cli.reputation import rate_parts, rate_words
from archipel.identity import Identity
from archipel.lab.audits import audits
from archipel.lab.reputation import Standing
from archipel.lab.risk import chance
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
    assert "credits taken back; final" in words.output
    assert "contested: my memory is fine" in words.output
    assert "verified:" not in words.output, "what was found right hides what was found wrong"


def test_a_node_s_reputation_and_disputes_are_recomputed(place: Path) -> None:
    cheat, ledger = identity("cheat").did, place / "ledger.sqlite"
    code, found = told("node", "reputation", "--all", "--ledger", ledger, "--json")
    assert code == 0
    rows = {row["node"]: row for row in found["nodes"]}
    assert rows[cheat]["hard"] == 1
    assert rows[cheat]["quarantine"] is not None
    assert rows[cheat]["next_audited_micro"] is None, "it is given no work"
    assert "token 3 was recorded, 4 is right" in rows[cheat]["why"]
    honest = max(rows.values(), key=lambda row: row["verified"])
    parts = honest["next_audited_by"]
    assert parts["base_micro"] == 1_000_000 // (1 + honest["verified"])
    assert parts["base_micro"] <= parts["rate_micro"] == honest["next_audited_micro"] < 1_000_000
    assert rows[identity("learner").did]["trusted"]
    assert rows[identity("learner").did]["next_audited_by"] is None
    code, found = told("node", "disputes", "--node", cheat, "--ledger", ledger, "--json")
    assert [each["outcome"] for each in found["disputes"]] == ["hard"]
    words = ["node", "disputes", "--node", cheat, "--ledger", str(ledger)]
    assert "final: the trusted role has decided" in CliRunner().invoke(command, words).output


def test_a_rate_is_told_with_its_reasons(place: Path) -> None:
    words = ["node", "reputation", "--all", "--ledger", str(place / "ledger.sqlite")]
    told_all = CliRunner().invoke(command, words).output
    assert "found right in a row" in told_all
    assert "trusted in watched: what it answers there is not audited" in told_all
    assert "IN QUARANTINE, given no work: hard: " in told_all


@pytest.mark.parametrize(
    ("known", "price", "words"),
    [
        (Standing(), 1000, "100.0 %: none of its answers was found right yet"),
        (Standing(verified=3), 1000, "25.0 %: 1 in 4 after 3 found right"),
        (Standing(verified=99), 1000, "2.0 %: the run's least is 2.0 %"),
        (
            Standing(verified=3, exposed_micro=16_000),
            1000,
            "50.0 %: 1 in 4 after 3 found right, times 2.00 for 0.016 credits paid since anybody looked",
        ),
        (Standing(verified=1, exposed_micro=10**9), 1000, "100.0 %: 1 in 2 after 1 found right, times 2.00"),
        (Standing(verified=3, exposed_micro=16_000), 0, "25.0 %: 1 in 4 after 3 found right"),
    ],
)  # fmt: skip
def test_a_rate_in_words_is_what_it_comes_of(known: Standing, price: int, words: str) -> None:
    rate = rate_parts(chance(20_000, known, price, is_audit=False), 20_000, known, None)
    assert rate_words(rate).startswith(f"its next answer, if of one group, is audited at {words}")


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
