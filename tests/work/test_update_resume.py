"""The trusted role may be killed between any two of its steps: the next version is the same, bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.training.report import UpdateReport
from archipel.training.trainer import Trainer
from archipel.work import learner, outbox
from archipel.work.kind import Answer, WorkFailed
from archipel.work.kinds.update import Updates
from tiny import write_start
from work.trusted import Trusted, position_of, recipe_of

MakeKind = Callable[[], Updates]


class Killed(BaseException):
    """SIGKILL, as far as Python can play it."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


def facts(answer: Answer) -> tuple[str, dict[str, bytes]]:
    return answer.values["policy"], {n: p.read_bytes() for n, p in answer.files.items()}


@pytest.fixture
def kinds() -> Iterator[MakeKind]:
    """Makes update kinds, each a process that may die; ends their graders."""
    made: list[Updates] = []

    def make() -> Updates:
        made.append(Updates())
        return made[-1]

    yield make
    for kind in made:
        kind.close()


@pytest.fixture
def trusted(tmp_path: Path, start: Path) -> Trusted:
    return Trusted(tmp_path, start)


def run_to(trusted: Trusted, kind: Updates, version: int) -> None:
    for _ in range(version):
        trusted.accept(trusted.ask(kind, "memory"))


@pytest.fixture(scope="module")
def third(start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """Version 2's facts, of a role that nothing happened to."""
    calm, kind = Trusted(tmp_path_factory.mktemp("calm"), start), Updates()
    run_to(calm, kind, 2)
    expected = facts(calm.ask(kind, "memory"))
    kind.close()
    return expected


@pytest.mark.slow
def test_weights_move_at_every_version_of_this_test(trusted: Trusted, kinds: MakeKind) -> None:
    run_to(trusted, kinds(), 4)
    assert len(set(trusted.policies)) == 4


@pytest.mark.parametrize(
    ("moment", "every"),
    [
        *(("learned", 1), ("outbox", 10), ("saved", 1)),
        *(
            pytest.param(moment, every, marks=pytest.mark.slow)
            for moment in ("learned", "half an outbox", "outbox", "saved", "told")
            for every in (1, 10)
            if (moment, every) not in {("learned", 1), ("outbox", 10), ("saved", 1)}
        ),
    ],
)
def test_an_update_killed_at_any_step_comes_out_the_same(
    third: tuple[str, dict[str, bytes]], trusted: Trusted, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch,
    moment: str, every: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(learner, "SAVE_EVERY", every)
    run_to(trusted, kind := kinds(), 2)
    with monkeypatch.context() as dying:
        _die(dying, moment)
        lives = moment == "told" or (moment == "outbox" and every > 1)
        with nullcontext() if lives else pytest.raises(Killed):
            trusted.ask(kind, "memory")
    assert facts(trusted.ask(kinds(), "memory")) == third


def _die(dying: pytest.MonkeyPatch, moment: str) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise Killed

    if moment == "learned":
        dying.setattr(learner.Learner, "_publish", killed)
    elif moment == "half an outbox":
        dying.setattr(outbox.Outbox, "finish", killed)
    elif moment == "outbox":
        dying.setattr(Trainer, "save", killed)
    elif moment == "saved":
        dying.setattr(outbox.Outbox, "answer", killed)


def test_an_answer_asked_for_again_is_the_one_given_before(
    trusted: Trusted, kinds: MakeKind
) -> None:
    run_to(trusted, kind := kinds(), 2)
    first = facts(trusted.ask(kind, "memory"))
    assert facts(trusted.ask(kind, "memory")) == first


def test_a_machine_without_memory_replays_and_continues_alike(
    trusted: Trusted, kinds: MakeKind
) -> None:
    run_to(trusted, kind := kinds(), 3)
    assert facts(trusted.ask(kinds(), "new memory")) == facts(trusted.ask(kind, "memory"))


@pytest.mark.slow
def test_a_machine_that_others_have_overtaken_replays_and_continues_alike(
    trusted: Trusted, kinds: MakeKind
) -> None:
    overtaken, kind = kinds(), kinds()
    for _ in range(2):
        trusted.ask(overtaken, "other memory")
        trusted.accept(trusted.ask(kind, "memory"))
    trusted.accept(trusted.ask(kind, "memory"))
    assert facts(trusted.ask(overtaken, "other memory")) == facts(trusted.ask(kind, "memory"))


def test_a_machine_that_computes_otherwise_is_stopped_before_it_publishes(
    trusted: Trusted, kinds: MakeKind
) -> None:
    run_to(trusted, kind := kinds(), 2)
    trusted.policies[-1] = "sha256:" + "0" * 64
    with pytest.raises(WorkFailed, match="compute alike"):
        trusted.ask(kind, "memory")


def test_training_that_diverged_says_so(
    trusted: Trusted, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to(trusted, kind := kinds(), 1)
    update = Trainer.update

    def diverging(self: Trainer, groups: object) -> UpdateReport:
        return replace(update(self, groups), grad_norm=float("nan"))

    monkeypatch.setattr(Trainer, "update", diverging)
    with pytest.raises(WorkFailed, match=r"grad_norm is nan .* diverged"):
        trusted.ask(kind, "memory")


@pytest.mark.slow
def test_an_update_that_failed_half_way_is_made_again_from_what_was_written_down(
    trusted: Trusted, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to(trusted, kind := kinds(), 2)
    with monkeypatch.context() as failing:
        failing.setattr(outbox.Outbox, "begin", _full_disk)
        with pytest.raises(OSError, match="no space"):
            trusted.ask(kind, "memory")
    answer = trusted.ask(kind, "memory")
    assert facts(answer) == facts(trusted.ask(kinds(), "new memory"))


def test_a_memory_whose_newest_tensors_are_damaged_costs_one_work_and_then_goes_on_alike(
    trusted: Trusted, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "SAVE_EVERY", 1)
    run_to(trusted, kind := kinds(), 3)
    newest = max((trusted.folder / "memory").glob("*.safetensors"))
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    again = kinds()
    with pytest.raises(WorkFailed, match="stands at version 1, version 3 was asked"):
        trusted.ask(again, "memory")
    assert facts(trusted.ask(again, "memory")) == facts(trusted.ask(kind, "memory"))


def _full_disk(*arguments: object) -> Path:
    raise OSError(28, "no space")


@pytest.mark.slow
def test_the_checkpoint_travels_at_every_k_th_version_but_not_the_first(
    trusted: Trusted, kinds: MakeKind, start: Path, tmp_path: Path
) -> None:
    (tmp_path / "published").mkdir()
    every_other = Trusted(tmp_path / "published", start, recipe_of(2, versions=4))
    for lab, expected in ((trusted, []), (every_other, [2, 4])):
        kind, told = kinds(), []
        for version in range(lab.recipe.run.versions + 1):
            answer = lab.ask(kind, "memory")
            told += [version] if "memory" in answer.files else []
            lab.accept(answer)
        assert told == expected


@pytest.fixture
def published(tmp_path: Path, start: Path, kinds: MakeKind) -> tuple[Trusted, Updates]:
    """A run at version 3 whose checkpoint of version 2 is published, and who made it."""
    trusted = Trusted(tmp_path, start, recipe_of(2, versions=5))
    run_to(trusted, kind := kinds(), 4)
    assert trusted.memory is not None
    assert trusted.memory.version == 2
    return trusted, kind


def test_a_machine_without_memory_continues_alike_from_the_checkpoint_and_later_results_alone(
    published: tuple[Trusted, Updates], kinds: MakeKind
) -> None:
    trusted, kind = published
    for each in trusted.inputs[1] + trusted.inputs[2]:
        trusted.blobs.pop(each.answer.result.digest).unlink()
    fresh = kinds()
    for _ in range(2):
        expected = trusted.ask(kind, "memory")
        assert facts(trusted.ask(fresh, "new memory")) == facts(expected)
        trusted.accept(expected)


@pytest.mark.slow
def test_a_memory_that_is_behind_the_checkpoint_gives_way_to_it(
    published: tuple[Trusted, Updates], kinds: MakeKind, tmp_path: Path
) -> None:
    trusted, kind = published
    late = kinds()
    early = Trusted(tmp_path, trusted.start, trusted.recipe)
    early.accept(early.ask(late, "late memory"))
    assert position_of(late, tmp_path / "late memory") == 0
    assert facts(trusted.ask(late, "late memory")) == facts(trusted.ask(kind, "memory"))


def test_a_checkpoint_that_is_older_than_the_memory_is_left_alone(
    published: tuple[Trusted, Updates], kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, kind = published
    expected = facts(trusted.ask(kind, "memory"))
    monkeypatch.setattr(Trainer, "unpack", _full_disk)
    for worker in (kind, kinds()):
        position = position_of(worker, trusted.folder / "memory")
        context = trusted.context("memory", position)
        with_it = context.model_copy(update={"checkpoint": trusted.folder / "memory-2"})
        assert facts(worker.run(trusted.spec(), with_it, lambda tokens: None)) == expected


def test_a_checkpoint_of_another_version_or_recipe_is_refused(
    published: tuple[Trusted, Updates], kinds: MakeKind
) -> None:
    trusted, _ = published
    assert trusted.memory is not None
    trusted.memory = trusted.memory.model_copy(update={"version": 1})
    with pytest.raises(WorkFailed, match="is of version 2, expected 1"):
        trusted.ask(kinds(), "new memory")
    trusted.memory = trusted.memory.model_copy(update={"version": 2})
    trusted.recipe = recipe_of(2, versions=6)
    with pytest.raises(WorkFailed, match="follows recipe"):
        trusted.ask(kinds(), "new memory")


@pytest.mark.slow
def test_replay_says_how_many_tokens_it_has_learned_from(trusted: Trusted, kinds: MakeKind) -> None:
    run_to(trusted, kinds(), 3)
    told: list[int] = []
    context = trusted.context("new memory", -1)
    kinds().run(trusted.spec(), context, told.append)
    batch = trusted.inputs[1][0].answer.num_tokens
    assert told == [batch, 2 * batch]
