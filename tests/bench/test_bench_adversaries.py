"""The adversary bench: who makes and who audits honest answers, what an audit of them finds, and runs that are spoiled."""

from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.bench import honest, spoiling
from archipel.bench.adversaries import QUICK, SPOILED, Place, result, table, tasks
from archipel.bench.court import of_bench
from archipel.bench.honest_sides import ANSWERS, SIDES, sides_of
from archipel.bench.kept import Kept
from archipel.model.directory import write_model
from archipel.model.tokenizer import tokenizer_named
from archipel.training.start import initial_model
from tiny import tiny_recipe


def test_everybody_audits_everybody_under_whatever_instructions_and_threads() -> None:
    pairs = {sides_of(part) for part in range(len(SIDES) ** 2)}
    assert len(pairs) == len(SIDES) ** 2
    assert all(maker != auditor for maker, auditor in map(sides_of, range(len(SIDES))))


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Answers of random weights, made and not yet audited."""
    torch.set_num_threads(1)
    recipe = of_bench(tiny_recipe(1, 0), 1, 0)
    tokenizer = tokenizer_named(recipe.model.tokenizer)
    model = initial_model(recipe, tokenizer)
    write_model(tmp_path / "policy", model, model.config, tokenizer)
    made = {
        "policy": str(tmp_path / "policy"),
        "recipe": recipe.model_dump_json(),
        "answers": str(tmp_path / ANSWERS),
        "steps": [{"variant": "w7a8", "first": 0, "audits": 4}],
    }
    assert list(honest.make(made)) == [[]]
    return made


def test_an_audit_accuses_no_honest_answer_and_one_bit_is_enough_to_be_accused(
    job: dict[str, Any],
) -> None:
    assert list(honest.audit(job)) == [[{"accused": 0, "by": {}}]]
    path = Path(job["answers"])
    court = honest._court(job, "w7a8")
    requests = court.requests(0, 4)
    groups = court.unpacked(path.read_bytes(), requests[0], 4)
    spoiled = [
        tuple(
            type(one)(one.tokens, tuple(each - 1e-3 for each in one.logprobs), one.finished)
            for one in group
        )
        if number == 2
        else tuple(group)
        for number, group in enumerate(groups)
    ]
    path.write_bytes(court.packed(spoiled))
    ((found,),) = honest.audit(job)
    assert found == {"accused": 1, "by": {"log-probability": 1}}


def test_answers_that_the_door_refuses_count_as_accused(job: dict[str, Any]) -> None:
    path = Path(job["answers"])
    path.write_bytes(path.read_bytes()[:-3])
    ((found,),) = honest.audit(job)
    assert found["accused"] == 4


def test_what_is_kept_is_shown_by_part(tmp_path: Path) -> None:
    place = Place(tmp_path, tiny_recipe(1, 0), {})
    kept = Kept(tmp_path)
    learning, *_ = tasks(QUICK, place)
    arm = {"way": SPOILED, "seed": 0, "reward": 0.5, "greedy": 0.25, "forged": 7, "learned": 3, "quarantined": 4, "accused": 0}  # fmt: skip
    for step in learning.steps:
        kept.keep(step, [{**arm, "arm": step["arm"]}])
    found = result(QUICK, place)
    assert [row["arm"] for row in found["learning"]] == list(spoiling.ARMS)
    assert found["honest"]["audits"] == 0
    assert spoiling.ALONE in table(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_audits_keep_a_third_of_cheats_from_spoiling_a_run() -> None:
    torch.set_num_threads(1)
    seeds = [spoiling.spoil(tiny_recipe(1, 0), seed, 40, spoiling.ARMS) for seed in range(3)]
    clean, audited, alone = seeds[0]

    def last(arm: spoiling.Arm) -> float:
        """Reward of the last ten batches: so small a task has hardly any held-out ones."""
        return sum(arm.curve[-10:]) / 10

    assert last(clean) - last(audited) <= 0.01 * last(clean)
    assert sum(last(each[2]) for each in seeds) < sum(last(each[0]) for each in seeds) / 2
    assert (audited.quarantined, audited.accused) == (spoiling.NODES // spoiling.EVERY, 0)
    assert alone.quarantined == clean.forged == 0
    assert audited.learned < alone.learned / 4
