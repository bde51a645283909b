"""Cheating nodes in a lab of real processes: caught, named, unpaid, their work redone, and nobody else harmed."""

from collections.abc import Callable
from pathlib import Path

import pytest

import cheating
from archipel.lab.audits import audits
from archipel.lab.cases import Case, Outcome
from archipel.lab.programmes.rl import course
from archipel.lab.stakes import staked_micro
from archipel.lab.state import Phase
from archipel.records.statements import WorkAnswered
from cli_words import told
from stage import Outcome as Ledger
from stage import Stage
from tiny import NAME

HONEST = ("one", "two", "three")


class Audited(Ledger):
    """A ledger in which work was withdrawn and done again, and audits were paid."""

    def _check(self, versions: int) -> None:
        assert self.run.phase is Phase.COMPLETE
        assert sum(self.state.book.values()) == 0
        assert sum(self.staleness.values()) == versions * 4

    @property
    def cases(self) -> tuple[Case, ...]:
        return audits(self.run).closed


def exact_stage(make_stage: Callable[..., Stage], versions: int = 6) -> Stage:
    stage = make_stage(versions=versions, staleness=1)
    exact = stage.recipe.sampling.model_copy(update={"engine": "exact", "variant": "w7a8"})
    # They edit one rollout of many: whole answers are looked at, so that one look is enough.
    whole = stage.recipe.audit.model_copy(update={"part": 1.0})
    stage.recipe = stage.recipe.model_copy(update={"sampling": exact, "audit": whole})
    stage.open()
    return stage


def cheat(stage: Stage, name: str, way: str) -> str:
    return stage.site.start_node(name, program=[str(Path(cheating.__file__)), way])


def ended(stage: Stage) -> Audited:
    """The run is complete, and every audit of it has come to an end."""
    last = stage.recipe.run.versions
    stage.wait_for_version(last)

    def is_quiet() -> bool:
        shown = stage.site.run(NAME)
        counts = {} if shown is None else shown.progress["audits"]
        return counts.get("open") == 0 == counts.get("waiting")

    stage.wait(is_quiet, "the last audits")
    stage.site.close()
    return Audited(stage.site.home("lab"), last)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tokens", "logprobs"])
def test_a_node_that_edits_what_it_sampled_is_caught_named_unpaid_and_its_work_redone(
    make_stage: Callable[..., Stage], way: str
) -> None:
    stage = exact_stage(make_stage)
    did = cheat(stage, "cheat", way)
    stage.wait_for_version(0)
    stage.wait(
        lambda: (node := stage.node("cheat")) is not None and node.groups > 0, "a bad result"
    )
    honest = [stage.site.start_node(name) for name in HONEST]
    stage.wait(
        lambda: (
            (shown := stage.site.run(NAME)) is not None
            and any("hard" in each for each in shown.verdicts)
        ),
        "a verdict",
    )
    (words, *_) = stage.site.run(NAME).verdicts  # type: ignore[union-attr]
    what = {"tokens": "token", "logprobs": "log-probability"}[way]
    assert did[-12:] in words
    assert f"position 0: {what}" in words
    ledger = ended(stage)
    node = ledger.state.nodes[did]
    assert node.standing.quarantine is not None
    # The stake, which was its pay, is lost by the first verdict; what others take back after it is owed.
    assert ledger.state.book.get(did, 0) <= 0
    assert staked_micro(ledger.state, did) == 0
    hard = [case for case in ledger.cases if case.verdict and case.verdict.outcome is Outcome.HARD]
    assert {case.answer.party for case in hard} == {did}
    withdrawn = {work for case in hard for work in case.verdict.withdrawn}  # type: ignore[union-attr]
    touched = {version for case in hard for version in case.verdict.touched}  # type: ignore[union-attr]
    assert withdrawn or touched, (
        "a bad result is done again, or the version that it touched is named"
    )
    consumed = {work for made in course(ledger.run).made.values() for work in made.inputs}
    assert not withdrawn & {each.work for each in consumed}
    standings = [ledger.state.nodes[each].standing for each in honest]
    assert all(each.hard == each.soft == each.refuted == 0 for each in standings)
    assert sum(each.verified for each in standings) > 0
    by = [
        said.author
        for said in ledger.history
        if isinstance(said, WorkAnswered) and said.answer.kind == "audit"
    ]
    assert by
    assert set(by) <= {*honest, did, stage.site.did("update")}
    code, told_of = told("audits", "--home", stage.site.home("lab"), "--json")
    assert (code, told_of["lab"]) == (0, ledger.state.lab)
    assert did in {each["node"] for each in told_of["cases"] if each["outcome"] == "hard"}
    code, checked = told("run", "verify", NAME, "--home", stage.site.home("lab"), "--json")
    assert (code, checked["faults"]) == (0, [])
    lines = dict(line.split(": ", 1) for line in checked["withdrawn"])
    assert withdrawn <= lines.keys()
    assert all(lines[work].startswith("a hard verdict on ") for work in withdrawn), lines
    assert all(" verdict on " in why for why in lines.values()), lines


@pytest.mark.slow
@pytest.mark.parametrize(("way", "cheats"), [("no", False), ("yes", True)])
def test_an_auditor_who_always_says_the_same_is_found_out(
    make_stage: Callable[..., Stage], way: str, cheats: bool
) -> None:
    stage = exact_stage(make_stage)
    liar = cheat(stage, "liar", way)
    if cheats:
        cheat(stage, "cheat", "tokens")
    honest = [stage.site.start_node(name) for name in HONEST]
    ledger = ended(stage)
    standings = {did: ledger.state.nodes[did].standing for did in (liar, *honest)}
    assert all(standings[did].hard == standings[did].refuted == 0 for did in honest)
    said = {opinion.auditor for case in ledger.cases for opinion in case.opinions}
    wrong = {did for case in ledger.cases if case.verdict for did, _ in case.verdict.struck}
    assert wrong <= {liar}
    if liar in said and not cheats:
        assert standings[liar].refuted >= 1
