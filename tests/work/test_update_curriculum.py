"""A trusted role whose tasks follow from what was earned: killed, moved or replayed, it asks for the same."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archipel.records.recipe import CurriculumSection
from archipel.work import learner
from archipel.work.accepted import batch_groups
from archipel.work.kind import WorkFailed
from archipel.work.kinds.update import Updates
from archipel.work.verifying import Regrading, Remaking
from tiny import SECRET, write_start
from work.trusted import Trusted, recipe_of

VERSIONS = 5


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusted]:
    """A run to its end by one process; it is only read."""
    recipe = recipe_of(checkpoint_every=2, versions=VERSIONS)
    chosen = CurriculumSection(pool=6, fresh=0.25, memory=1.0)
    chosen_by = recipe.model_copy(update={"curriculum": chosen})
    trusted = Trusted(tmp_path_factory.mktemp("whole"), start, chosen_by)
    kind = Updates()
    for _ in range(VERSIONS + 1):
        answer = trusted.ask(kind, "memory")
        trusted.accept(answer)
    assert answer.values["metrics"]["curriculum_tried"] > 0
    yield trusted
    kind.close()


@pytest.mark.slow
def test_prompts_come_from_the_pool_and_not_in_its_order(whole: Trusted) -> None:
    asked = [tuple(prompt) for batch in whole.prompts.values() for prompt in batch]
    assert len(set(asked)) <= 6 < len(asked)
    assert all(len({tuple(p) for p in batch}) == len(batch) for batch in whole.prompts.values())


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 10])
def test_each_version_by_a_process_of_its_own_is_the_same(
    whole: Trusted, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """With `every` = 1 from its own folder; with 10 from the published checkpoint and what was replayed."""
    monkeypatch.setattr(learner, "SAVE_EVERY", every)
    folder = tmp_path / "again"
    folder.mkdir()
    again = Trusted(folder, start, whole.recipe)
    for version in range(VERSIONS + 1):
        with closing(Updates()) as kind:
            again.accept(again.ask(kind, "memory" if every == 1 else f"home-{version}"))
    assert again.policies == whole.policies
    assert again.prompts == whole.prompts


@pytest.mark.slow
def test_whoever_makes_the_versions_again_comes_to_the_same(whole: Trusted) -> None:
    folder = whole.folder / "remade"
    folder.mkdir()
    with Remaking(
        whole.context("nowhere", 0).model_copy(update={"checkpoint": None}), folder, -1
    ) as made:
        for version in range(1, VERSIONS + 1):
            assert made.next(whole.inputs[version], whole.blobs) == whole.policies[version]


def test_rewards_are_given_again_in_order_and_not_out_of_it(whole: Trusted, start: Path) -> None:
    size = whole.recipe.run.groups_per_update
    context = whole.context("memory", 0)

    def batch(number: int) -> dict:
        step = context.model_copy(update={"inputs": whole.inputs[number + 1]})
        found = batch_groups(range(number * size, (number + 1) * size), step)
        return {index: rollouts for index, (_, rollouts) in found.items()}

    with Regrading(whole.recipe, SECRET, start) as regrading:
        with pytest.raises(WorkFailed, match="look at the run from its first version on"):
            regrading.mean_micro(batch(3))
        means = [regrading.mean_micro(batch(number)) for number in range(VERSIONS)]
    assert means[0] > 0
