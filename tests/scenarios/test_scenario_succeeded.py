"""A lab is gone for good, or refuses: another goes on with its ledger and its runs, from a mirror, under a key of its own."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archipel import source_environment
from archipel.identity import Identity
from archipel.records.recipe_charter import CharterSection
from burnt import burn
from ports import free_port
from stage import EVERY_PROCESS, Outcome, Stage
from tiny import SECRET

MakeStage = Callable[..., Stage]
PROMISED_S = 300.0
"""From the lab's end to the first version that its successor published."""


def said(*words: object, fails: bool = False) -> str:
    """What a command says, as an operator would type it; or what it complains of."""
    told = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *map(str, words)],
        env={**source_environment(), **EVERY_PROCESS},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert told.returncode == int(fails), told.stderr
    return told.stderr if fails else told.stdout


def typed(*words: object) -> dict[str, Any]:
    """The same, for machines."""
    result: dict[str, Any] = json.loads(said(*words, "--json"))
    return result


def mirrored(stage: Stage, name: str, folder: Path) -> None:
    """The ledger as `ledger mirror` keeps it, and the blobs beside it."""
    shutil.copytree(stage.site.home(name) / "blobs", folder / "blobs", dirs_exist_ok=True)
    typed("ledger", "mirror", stage.site.url, folder)
    shutil.copytree(stage.site.home(name) / "blobs", folder / "blobs", dirs_exist_ok=True)


def opened(stage: Stage, *named: str) -> None:
    """Lab, update role and run; whom the lab names, if anybody, is known before anybody joins."""
    site = stage.site
    site.start_lab()
    if named:
        key = site.home("lab") / "operator.key"
        typed("lab", "name-successors", *named, "--lab", site.url, "--key", key)
    site.keep_secret("update", "secret-order", SECRET)
    site.start_update("update")
    site.open_run(stage.recipe, stage._start, ["update"])


class Next:
    """A lab that may go on with the first one's ledger."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name, self.port = stage, name, free_port()
        self.home = stage.site.home(name)
        self.home.mkdir(mode=0o700, parents=True)
        self.did = Identity.load_or_create(self.home / "lab.key").did

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self) -> str:
        return f"{self.did}={self.url}"

    def succeeds(self, mirror: Path, *options: object) -> dict[str, Any]:
        told = typed("lab", "succeed", mirror, "--home", self.home, *options)
        self.stage.site.url = self.stage.site.start_follower(self.name, self.port, ["--no-pages"])
        return told

    def verified(self) -> dict[str, Any]:
        return typed("ledger", "verify", self.stage.site.url)

    def resumes(self) -> None:
        key = self.home / "operator.key"
        said("run", "resume", self.stage.recipe.run.name, "--lab", self.url, "--key", key)

    def outcome(self) -> Outcome:
        last = self.stage.recipe.run.versions
        self.stage.wait_for_version(last)
        told = self.verified()
        self.stage.site.close()
        outcome = Outcome(self.home, last)
        assert told["balances_micro"] == dict(outcome.state.book)
        assert told["lab"] == self.did
        return outcome


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_lab_that_is_gone_for_good_is_continued_from_a_mirror_and_its_run_ends(
    stage: Stage, tmp_path: Path, undisturbed: Outcome
) -> None:
    successor, mirror = Next(stage, "next"), tmp_path / "mirror"
    opened(stage, successor.named())
    for name in ("a", "b"):
        stage.site.start_node(name)
    stage.wait_for_version(1)
    stage.site.hold("update")  # else the run is over before the mirror is made
    mirrored(stage, "lab", mirror)
    first = stage.site.history()
    stage.site.kill("lab")
    died_s = time.monotonic()
    burn(stage.site.home("lab"))
    stage.site.release("update")
    told = successor.succeeds(mirror)
    assert told["goes_on"] == [stage.recipe.run.name]
    assert told["missing"] == []
    began = stage.version()
    stage.wait(lambda: stage.version() > began, "a version under the successor")
    took_s = time.monotonic() - died_s
    print(f"the first version under the successor came {took_s:.1f} s after the lab's end")
    assert took_s < PROMISED_S
    outcome = successor.outcome()
    assert outcome.policies == undisturbed.policies
    kept = told["entries"]
    assert outcome.history[:kept] == [each for _, each in first][:kept]
    assert outcome.state.lab == successor.did


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_mirror_that_lags_is_continued_where_it_is_whole_and_the_learner_that_is_ahead_goes_back(
    stage: Stage, tmp_path: Path, undisturbed: Outcome
) -> None:
    successor, mirror = Next(stage, "next"), tmp_path / "mirror"
    opened(stage, successor.named())
    stage.site.start_node("a")
    stage.wait_for_version(1)
    stage.site.hold("update")
    whole = typed("ledger", "mirror", stage.site.url, mirror, "--blobs")
    assert whole["complete"] == whole["entries"]
    stage.site.release("update")
    stage.wait_for_version(3)
    stage.site.hold("update")  # else the run is over before the mirror is made
    lags = typed("ledger", "mirror", stage.site.url, mirror / "ledger")  # its blobs come too late
    assert lags["entries"] > whole["entries"]
    stage.site.kill("lab")
    burn(stage.site.home("lab"))
    stage.site.release("update")
    told = successor.succeeds(mirror)
    assert (told["entries"], told["missing"]) == (whole["entries"], [])
    assert told["left_out"]["entries"] == lags["entries"] - whole["entries"]
    assert told["left_out"]["versions"][stage.recipe.run.name][1] >= 3
    assert told["left_out"]["balances_micro"]
    outcome = successor.outcome()
    assert outcome.policies == undisturbed.policies
    home = stage.site.home("update")
    whys = [json.loads(each.read_text()) for each in home.glob("memory/*/aside-*/why.json")]
    assert any("is remembered" in each["why"] or "from other" in each["why"] for each in whys)
    said_back = typed("node", "status", "--offline", "--home", home)["went_back"]
    assert len(said_back) == len(whys) > 0


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_lab_that_refuses_to_let_go_is_left_by_the_charter_of_its_run(
    stage: Stage, tmp_path: Path, undisturbed: Outcome
) -> None:
    """It runs on, with its key, its operator and its history, and nobody works for it any more."""
    successor, mirror = Next(stage, "next"), tmp_path / "mirror"
    charter = CharterSection(successors={successor.did: successor.url})
    stage.recipe = stage.recipe.model_copy(update={"charter": charter})
    opened(stage)
    stage.site.start_node("a")
    stage.wait_for_version(1)
    old, name = stage.site.url, stage.recipe.run.name
    key = stage.site.home("lab") / "operator.key"
    stage.site.hold("update")  # else the run is over before its operator has said a word
    said("run", "pause", name, "--reason", "it is mine", "--lab", old, "--key", key)
    stage.site.release("update")
    stage.wait(lambda: not stage.site.leases(), "all work to be answered")
    mirrored(stage, "lab", mirror)
    kept = stage.version()
    told = successor.succeeds(mirror)
    assert told["goes_on"] == [name]
    successor.resumes()
    began_s = time.monotonic()
    stage.site.wait_until(
        lambda: stage.version() > kept, "a version under the successor", PROMISED_S
    )
    print(f"the run went on under the successor after {time.monotonic() - began_s:.1f} s")
    stage.site.url, new = old, stage.site.url
    said("run", "resume", name, "--lab", old, "--key", key)
    stage.wait(lambda: not stage.site.leases(), "nobody to work for the old lab")
    assert stage.version() == kept
    stage.site.url = new
    outcome = successor.outcome()
    assert outcome.policies == undisturbed.policies
    assert outcome.state.operators != {Identity.load(key).did}


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_of_three_labs_one_is_gone_and_its_run_ends_at_another_because_its_owners_agree(
    stage: Stage, tmp_path: Path, undisturbed: Outcome
) -> None:
    """Nobody was named: nodes look where their lab said, fold the whole ledger there, and go on."""
    successor, mirror = Next(stage, "next"), tmp_path / "mirror"
    stage.recipe = stage.recipe.model_copy(update={"charter": CharterSection()})
    opened(stage, "--ask", successor.url)
    for other in ("second", "third"):
        stage.site.start_follower(other, 0, ["--no-pages"])
    stage.site.start_node("a")
    stage.wait_for_version(1)
    stage.site.hold("update")
    mirrored(stage, "lab", mirror)
    stage.site.kill("lab")
    died_s = time.monotonic()
    burn(stage.site.home("lab"))
    stage.site.release("update")
    refused = said("lab", "succeed", mirror, "--home", successor.home, fails=True)
    assert "of its shares" in refused
    paper, owner = tmp_path / "agreement.json", stage.site.home("a") / "node.key"
    words = ("--successor", successor.did, "--key", owner, "--out", paper)
    typed("lab", "agree", mirror, *words)
    told = successor.succeeds(mirror, "--agreement", paper)
    assert told["goes_on"] == [stage.recipe.run.name]
    began = stage.version()
    stage.site.wait_until(
        lambda: stage.version() > began, "a version under the successor", PROMISED_S
    )
    took_s = time.monotonic() - died_s
    print(f"the first version under the successor came {took_s:.1f} s after the lab's end")
    assert took_s < PROMISED_S
    for other in ("second", "third"):
        assert stage.site.running(other)
    outcome = successor.outcome()
    assert outcome.policies == undisturbed.policies
