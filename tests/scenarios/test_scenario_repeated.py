"""A member that makes fewer steps than it says, in a lab of real processes: made again, named, unpaid, sent away."""

from pathlib import Path

import pytest

from archipel.lab.audits import audits
from archipel.lab.cases import Outcome
from archipel.lab.stakes import staked_micro
from archipel.lab.state import Phase
from archipel.market.journal import TREASURY, wallet
from cli_words import told
from scenarios.test_scenario_pretrain import Across
from work.outer_steps import NAME

LAZY = (str(Path(__file__).with_name("lazy_member.py")),)
VERSIONS = 6


class Audited(Across):
    """Members remember nothing, and what they sent is made again by others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, versions=VERSIONS, members=4)
        said = self.recipe.model_dump()
        said["inner"]["state"] = "fresh"
        said["audit"] = {"pay": 0.5}
        said["merge"] |= {"loss_gate": False, "gate_secret": None, "gate_path": ""}
        self.recipe = type(self.recipe).model_validate(said)

    def verdicts(self) -> tuple[str, ...]:
        run = self.site.run(NAME)
        return () if run is None else tuple(run.verdicts)

    def is_quiet(self) -> bool:
        run = self.site.run(NAME)
        counts = {} if run is None else run.progress["audits"]
        return counts.get("open") == 0 == counts.get("waiting")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six processes that load the tensor library, two of them twice
def test_a_member_that_makes_fewer_steps_than_it_says_is_found_named_unpaid_and_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.test_scenario_pretrain.LIAR", LAZY)
    stage = Audited(tmp_path)
    try:
        stage.start("a", "b", "c", "liar")
        lazy = stage.site.did("liar")
        stage.wait(lambda: any("hard" in each for each in stage.verdicts()), "a verdict")
        (words, *_) = stage.verdicts()
        assert lazy[-12:] in words
        assert "after 2 inner steps: state" in words
        stage.wait_for_version(VERSIONS)
        stage.wait(stage.is_quiet, "the last audits")
    finally:
        stage.site.close()
    state, _ = stage.ledger()
    run = state.runs[NAME]
    assert run.phase is Phase.COMPLETE
    hard = [
        each
        for each in audits(run).closed
        if each.verdict is not None and each.verdict.outcome is Outcome.HARD
    ]
    assert {each.answer.party for each in hard} == {lazy}
    assert state.nodes[lazy].standing.quarantine is not None
    owned = {did: state.book.get(wallet(did), 0) + staked_micro(state, did) for did in state.nodes}
    assert owned[lazy] <= 0
    honest = [did for did in state.nodes if did not in (lazy, *run.opened.trusted)]
    assert len(honest) == 3
    assert all(owned[did] > 0 for did in honest)
    standings = [state.nodes[did].standing for did in honest]
    assert all(each.hard == each.soft == each.refuted == 0 for each in standings)
    assert sum(each.verified for each in standings) > 0
    assert sum(state.book.values()) == 0
    assert run.paid_micro == sum(owned.values()) + state.book.get(TREASURY, 0)
    home = stage.site.home("lab")
    code, listed = told("audits", "--home", home, "--json")
    assert code == 0
    assert {each["node"] for each in listed["cases"] if each["outcome"] == "hard"} == {lazy}
