"""Pretraining across sites with real processes: members that die, come late or lie, and whoever makes it all again."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import Site
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.lab.merge_story import MergeStory
from archipel.lab.recovery import pages, replay
from archipel.lab.state import LabState, Phase
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from archipel.market.journal import wallet
from archipel.node.opening import Brought, Text
from archipel.node.operator import model_files
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.checkpoint import read_latest
from archipel.work.opening import begin_model, corpus_files, payload_bytes
from stage import EVERY_PROCESS, LIMIT_S
from work.outer_steps import GATE, NAME, SECRET, recipe_of, write_corpus

LIAR = (str(Path(__file__).with_name("lying_member.py")),)


class Across:
    """One run of pretraining at one site."""

    def __init__(self, folder: Path, **run: int) -> None:
        self.folder, self.site = folder, Site(folder / "site", EVERY_PROCESS)
        made = recipe_of(write_corpus(folder / "corpus", repeats=40), GATE)
        header = made.run.model_copy(update=run)
        lease = made.lease.model_copy(update={"min_deadline_s": 20.0})
        self.recipe: PretrainRecipe = made.model_copy(update={"run": header, "lease": lease})

    def start(self, *nodes: str) -> None:
        """Lab, trusted role and these nodes, all of them there before the run is opened."""
        self.site.start_lab()
        self.site.keep_secret("update", "gate", SECRET)
        self.site.start_update()
        for name in nodes:
            self.site.start_node(name, program=LIAR) if name == "liar" else self.site.start_node(
                name
            )
        self.wait(lambda: len(self.site.nodes()) == 1 + len(nodes), "everybody to be there")
        weights = self.folder / "start"
        begin_model(self.recipe, weights)
        files = corpus_files(self.recipe)
        text = Text(tuple(files), tuple(files.values()), payload_bytes(self.recipe, weights))
        self.site.open_run(self.recipe, weights, ["update"], Brought(model_files(weights), text))

    def wait(self, condition, what: str) -> None:
        self.site.wait_until(condition, what, 2 * LIMIT_S)

    def wait_for_version(self, version: int) -> None:
        def is_there() -> bool:
            run = self.site.run(NAME)
            return run is not None and run.version >= version

        self.wait(is_there, f"version {version}")

    def leased(self, name: str) -> bool:
        did = self.site.did(name)
        return any(lease.node == did for lease in self.site.leases())

    def remembers(self, name: str) -> tuple[int, int]:
        """(works, inner steps) that a member's own folder says it has behind it."""
        (folder,) = (self.site.home(name) / "memory").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        kept = read_latest(folder / "member")
        return kept.number, kept.facts["steps"]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The package's own command, as anybody runs it."""
        return subprocess.run(
            [sys.executable, "-m", "archipel.cli.archipel", *words],
            env={**source_environment(), **EVERY_PROCESS},
            capture_output=True,
            text=True,
            timeout=2 * LIMIT_S,
        )

    def replayed(self, *more: str) -> dict:
        """What `run replay --all` says, of the lab that runs or of its folder."""
        scratch = str(self.folder / "scratch")
        words = ("run", "replay", NAME, "--all", "--json", "--scratch", scratch)
        done = self.command(*words, *more)
        told: dict = json.loads(done.stdout)
        assert (done.returncode == 0) == all(
            stage["equal"] for version in told["versions"] for stage in version["stages"]
        ), done.stderr
        return told

    def ledger(self) -> tuple[LabState, MergeStory]:
        """What the ledger says, folded again."""
        home = self.site.home("lab")
        did = Identity.load(home / "lab.key").did
        log = read_log(home / "ledger.sqlite", lab_key(did), home / HEAD_FILE)
        log.verify()
        entries, story = list(pages(log)), MergeStory(NAME)
        log.close()
        for entry in entries:
            story.hear(read_entry(entry).statement)
        assert list(story.faults()) == []
        return replay(did, entries), story


@pytest.fixture
def across(tmp_path: Path) -> Iterator[type[Across]]:
    """Sites that are cleared away whatever happens on them."""
    opened: list[Across] = []

    def made(**run: int) -> Across:
        opened.append(Across(tmp_path, **run))
        return opened[-1]

    yield made  # type: ignore[misc]  # it is called like the class
    for each in opened:
        each.site.close()


def check_books(state: LabState, story: MergeStory, price_micro: int) -> None:
    """Whoever was merged was paid for it, and nobody else."""
    paid: Counter[str] = Counter()
    for told in story.versions:
        for verdict in told.answer.verdicts:
            paid[verdict.work] += verdict.merged
    run = state.runs[NAME]
    assert max(paid.values()) == 1
    assert run.paid_micro == sum(paid.values()) * price_micro
    assert sum(state.book.values()) == 0
    assert state.book[wallet(run.opened.author)] == -run.paid_micro


@pytest.mark.slow
@pytest.mark.timeout(900)  # six processes that load the tensor library, two of them twice
def test_a_member_that_dies_remembers_one_that_comes_late_joins_and_anybody_makes_it_again(
    across,
) -> None:
    stage: Across = across(versions=6, members=3)
    stage.start("steady", "doomed")
    stage.wait_for_version(2)
    before = stage.remembers("doomed")
    stage.site.kill("doomed")
    stage.site.start_node("doomed")
    stage.site.start_node("late")
    stage.wait_for_version(3)
    stage.site.kill("update")
    stage.site.start_update()
    stage.wait_for_version(6)
    stage.wait(lambda: len(stage.site.run(NAME).evaluations) == 4, "evaluations")
    exams = {each["version"]: each["loss_micro"] for each in stage.site.run(NAME).evaluations}
    told = stage.replayed("--lab", stage.site.url)
    assert [each["version"] for each in told["versions"]] == list(range(1, 7))
    assert {each["equal"] for version in told["versions"] for each in version["stages"]} == {True}
    copy = stage.folder / "mirror"
    assert stage.command("ledger", "mirror", stage.site.url, str(copy)).returncode == 0
    stage.site.close()
    assert exams[6] < exams[0]
    works, steps = stage.remembers("doomed")
    assert works > before[0]
    assert steps == works * stage.recipe.inner.steps, "no work began with an optimiser that forgot"
    state, story = stage.ledger()
    assert state.runs[NAME].phase is Phase.COMPLETE
    check_books(state, story, stage.recipe.lease.price_micro)
    home = str(stage.site.home("lab"))
    mirrored = stage.replayed("--ledger", str(copy), "--home", home)
    assert mirrored["versions"] == told["versions"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_who_sends_the_opposite_of_what_it_learned_is_refused_and_unpaid(across) -> None:
    stage: Across = across(versions=3, members=4)
    stage.start("a", "b", "c", "liar")
    stage.wait_for_version(3)
    liar = stage.site.did("liar")
    stage.site.close()
    state, story = stage.ledger()
    check_books(state, story, stage.recipe.lease.price_micro)
    reasons = [v.reason for told in story.versions for v in told.answer.verdicts if not v.merged]
    assert reasons
    assert set(reasons) == {"loss"}
    earned = state.book.get(wallet(liar), 0)
    assert earned == 0
    honest = [state.book.get(wallet(did), 0) for did in state.nodes if did != liar]
    assert sum(each > 0 for each in honest) == 3
