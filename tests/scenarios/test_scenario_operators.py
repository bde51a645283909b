"""Real processes under one operator, whose key is sealed and lies with nobody: two nodes, a new key, a revoked one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from archipel.lab.run_story import RunStory
from archipel.records.statements import LeaseGranted, NodeJoined
from stage import Stage
from tiny import NAME

MakeStage = Callable[..., Stage]
SLOWLY = ("--latency", "0.4")
PROGRAM = (sys.executable, "-m", "archipel.cli.archipel")


def said(*words: object, fails: bool = False) -> str:
    """What a command printed."""
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.mark.slow
def test_an_operators_nodes_earn_for_it_whatever_becomes_of_their_keys(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    stage = make_stage(versions=12)
    stage.open()
    site, word = stage.site, tmp_path / "word"
    word.touch(mode=0o600)
    word.write_text("a long sentence\n")
    boss = said("operator", "new", "--new-passphrase-file", word).strip()

    def delegate(name: str, *more: str) -> str:
        did = said("node", "key", "--home", site.home(name)).strip()
        out = site.home(name) / "delegation.json"
        words = ("--passphrase-file", word, "operator", "delegate", did, "--out", out, *more)
        said(*words)
        return did

    refused = said("operator", "delegate", boss, fails=True)
    assert refused.count("\n") == 1, "no terminal, no passphrase: one sentence"
    key = ("--key", site.home("lab") / "operator.key", "--lab", site.url)
    said("lab", "joining", "--policy", "invited", "--effort-bits", "10", "--places", "2", *key)
    first, second = delegate("first"), delegate("second")
    invitation = site.home("first") / "invitation.json"
    said("lab", "invite", "--home", site.home("lab"), "--out", invitation)
    site.start_node("first", SLOWLY)
    stage.wait(lambda: earned(site.get(f"/nodes/{first}")), "the first node's pay")
    site.start_node("second", SLOWLY)
    stage.wait(lambda: site.get(f"/nodes/{second}") is not None, "the second node")

    # Rotation: the first node gets a new key, in the place of the old one.
    site.interrupt("first")
    said("node", "key", "--new", "--home", site.home("first"))
    renewed = delegate("first", "--replaces", first)
    site.start_node("first", SLOWLY)
    stage.wait(lambda: site.get(f"/nodes/{renewed}") is not None, "the first node's new key")

    # Revocation: the second node's key speaks for nobody any more, and cannot come back.
    revoking = ("revoke", second, "--reason", "sold", "--lab", site.url)
    said("--passphrase-file", word, "operator", *revoking)
    assert not site.get(f"/nodes/{second}")["present"]
    site.kill("second")
    again = said("node", "join", site.url, "--home", site.home("second"), fails=True)
    assert "sold" in again

    outcome = stage.finished()
    known = json.loads(said("operator", "list", "--home", site.home("lab"), "--json"))
    (row,) = known["operators"]
    assert row["operator"] == boss
    states = {each["node"]: each["revoked"] for each in row["keys"]}
    assert states == {first: f"replaced by {renewed}", second: "sold", renewed: None}
    verified = json.loads(said("ledger", "verify", site.home("lab"), "--json"))
    assert verified["sum_micro"] == 0
    assert verified["balances_micro"][boss] == row["balance_micro"] > 0
    assert not {first, second, renewed} & verified["balances_micro"].keys()
    story = RunStory(NAME)
    for each in outcome.history:
        story.hear(each)
    assert list(story.faults()) == []
    revoked_at = next(n for n, each in enumerate(outcome.history) if each.kind == "key.revoked")
    later = outcome.history[revoked_at:]
    assert not [each for each in later if isinstance(each, LeaseGranted) and each.node == second]
    assert any(isinstance(each, NodeJoined) and each.effort is not None for each in outcome.history)


def earned(node: dict[str, object] | None) -> bool:
    return node is not None and node["credit_micro"] != 0
