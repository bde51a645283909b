"""Cheats as nodes of a real lab whose run is sampled by our own engine in fp32: measured, accused by their sums, unpaid.

The run's weights and their calibration are made here; nodes, lab and trusted role are processes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from archipel.bench.cheating import PROGRAM
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.audits import of_party
from archipel.lab.cases import Outcome
from archipel.lab.recovery import pages, replayed
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.proofs.calibration import Model, calibrate
from archipel.proofs.plan import Plan
from archipel.proofs.record import Calibration
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request
from archipel.work.measuring import CALIBRATION
from stage import Stage
from tiny import NAME, SECRET, tiny_recipe, write_start

HONEST = ("one", "two")
GROUP = 24
"""Rollouts of an answer: so many tokens that the noise decides some dozens of them."""
PLAN = Plan(
    dtypes=("fp32",), slots=(1, 24), threads=(1,), groups=30, rollouts=GROUP, max_new_tokens=6, sequential=("older",), headroom=10.0,
)  # fmt: skip
FORGED = ("forged fingerprints", "borrowed fingerprints")
"""Cheats of runs whose answers bring fingerprints: honest tokens under others."""
CHEATS = (
    ("int8 weights", "own noise", "temperature 1.02"),
    ("other weights", "forged log-probabilities"),
    ("best of 4",),
    FORGED,
)
"""Who samples four times for one answer is slow: it has a lab of its own."""
LIMIT_S = 500.0
USUAL, MOST = 10, 16
"""Audits of a full-time cheat until it is accused: of the one in the middle, of any. Eight or nine, and as many more as one
auditor told alone of them, which do not count; where one is faster than the others that was two or three more."""


def recipe_of(versions: int, *, fingerprints: bool = False) -> Recipe:
    recipe = tiny_recipe(versions, 1)
    run = recipe.run.model_copy(update={"group_size": GROUP})
    named = {"engine": "archipel", "precision": "fp32", "device": "cpu", "noise": "drawn"}
    return recipe.model_copy(
        update={
            "audit": recipe.audit.model_copy(update={"fingerprints": fingerprints}),
            "run": run,
            "sampling": recipe.sampling.model_copy(update=named),
            "optimiser": recipe.optimiser.model_copy(update={"learning_rate": 1e-4}),
        }
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the calibration beside them, as `archipel proofs calibrate --recipe --out` writes it."""
    folder = write_start(tmp_path_factory.mktemp("start"))
    decoder, tokenizer, recipe = read_model(folder), Tokenizer.from_directory(folder), recipe_of(1)
    state = dict(decoder.state_dict())
    environment = make_environment(recipe.environment, 0, SECRET)
    prompts = [group_request(recipe, environment, tokenizer, n).prompt for n in range(64)]
    model = Model(decoder.config, state, prompts, tokenizer.stop_ids)
    pairs = tuple(calibrate(model, PLAN, lambda words: None))
    digest = describe({name: each.bfloat16() for name, each in state.items()}, 0, None).state
    record = Calibration(
        model=digest, machine="here", made="now", confidence=PLAN.confidence,
        plan={"temperature": PLAN.temperature}, pairs=pairs,
    )  # fmt: skip
    (folder / CALIBRATION).write_bytes(record.to_bytes())
    torch.set_num_threads(1)
    return folder


@pytest.fixture
def stage(start: Path, tmp_path: Path, ways: tuple[str, ...]) -> Iterator[Stage]:
    with ExitStack() as stages:
        made = stages.enter_context(Stage(tmp_path / "site", start, versions=300, staleness=1))
        made.recipe = recipe_of(300, fingerprints=ways == FORGED)
        made.open()
        yield made


def accused(stage: Stage, dids: dict[str, str]) -> Callable[[], bool]:
    hard = set[str]()

    def are() -> bool:
        """A view shows the newest verdicts: of a fast run another look has others."""
        shown = stage.site.run(NAME)
        hard.update(() if shown is None else (v for v in shown.verdicts if v.startswith("hard")))
        return all(any(did[-12:] in each.split(":")[1] for each in hard) for did in dids.values())

    return are


@pytest.mark.slow
@pytest.mark.timeout(
    LIMIT_S + 300
)  # eight audits of each, one after another; the calibration before
@pytest.mark.parametrize("ways", CHEATS, ids=lambda ways: " and ".join(ways))
def test_cheats_are_accused_within_some_audits_and_honest_nodes_are_not(
    stage: Stage, ways: tuple[str, ...]
) -> None:
    cheats = {
        name: stage.site.start_node(name.replace(" ", "-"), program=[*PROGRAM, name, "1"])
        for name in ways
    }
    honest = [stage.site.start_node(name) for name in HONEST]
    stage.site.wait_until(accused(stage, cheats), "a hard verdict on every cheat", LIMIT_S)
    stage.site.close()
    home = stage.site.home("lab")
    log = read_log(home / "ledger.sqlite", lab_key(did := Identity.load(home / "lab.key").did), home / HEAD_FILE)  # fmt: skip
    state = replayed(did, pages(log)).state
    log.close()
    needed = list[int]()
    for name, party in cheats.items():
        known = state.nodes[party]
        assert known.standing.quarantine is not None, name
        # It may have answered more while its first answers waited for auditors.
        needed.append(known.standing.soft + known.standing.hard)
        assert known.standing.verified == 0, name
    assert sorted(needed)[(len(needed) - 1) // 2] <= USUAL
    assert max(needed) <= MOST
    good = [state.nodes[party].standing for party in honest]
    assert all(each.hard == each.soft == each.refuted == 0 for each in good)
    assert sum(each.verified + each.confirmed for each in good) > 0
    run = state.runs[NAME]
    assert run.noise is not None
    for case in (case for party in cheats.values() for case in of_party(run, party)):
        wrong = case.verdict is not None and case.verdict.outcome in (Outcome.SOFT, Outcome.HARD)
        assert not wrong or case.verdict.taken, f"{case.work} was paid"  # type: ignore[union-attr]
    outcomes = dict(run.attached["audit"].outcomes)  # type: ignore[attr-defined]  # the slice of audits
    assert outcomes.get(Outcome.HARD.value, 0) >= len(cheats)
