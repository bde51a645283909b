"""The trusted role may be killed between any two of its steps: the next version is the same, bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.model.tokenizer import character_tokenizer
from archipel.node.operator import Vocabulary, describe_file, make_pace
from archipel.records.rollouts import Rollout, pack_rollouts, unpack_prompts
from archipel.records.statements import ResultInput, UpdateSpec
from archipel.training.report import UpdateReport
from archipel.training.trainer import Trainer
from archipel.work import learner
from archipel.work.kind import Answer, Context, WorkFailed
from archipel.work.update import UpdateKind
from stage import NAME, SECRET, tiny_recipe, write_start

RECIPE = tiny_recipe(versions=3, staleness=0)
TOKENIZER = character_tokenizer()
MakeKind = Callable[[], UpdateKind]


class Killed(BaseException):
    """SIGKILL, as far as Python can play it."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


class Trusted:
    """A lab's view of one trusted role: what it asked, what it accepted."""

    def __init__(self, folder: Path, start: Path) -> None:
        self.folder = folder
        self.start = start
        self.policies: list[str] = []
        self.inputs: list[tuple[ResultInput, ...]] = [()]
        self.blobs: dict[str, Path] = {}
        self.prompts: dict[int, list[tuple[int, ...]]] = {}

    def context(self, memory: str, position: int) -> Context:
        vocabulary = Vocabulary(TOKENIZER.vocab_size, (TOKENIZER.eos_id,))
        return Context(
            work="tiny.1",
            run=NAME,
            pace=make_pace(RECIPE, vocabulary),
            model=self.start,
            chain=(),
            blobs=self.blobs,
            scratch=self.folder,
            memory=self.folder / memory,
            secret=SECRET,
            recipe=RECIPE.canonical_bytes(),
            inputs=self.inputs[-1],
            replay=tuple(
                (version, self.inputs[version])
                for version in range(max(position, 0) + 1, len(self.policies))
            ),
        )

    def ask(self, kind: UpdateKind, memory: str) -> Answer:
        """Ask `kind` for the next version."""
        position = kind.position(NAME, self.folder / memory)
        version = len(self.policies)
        parent = self.policies[-1] if self.policies else None
        spec = UpdateSpec(run=NAME, version=version, parent=parent)
        return kind.run(spec, self.context(memory, position), lambda values: None)

    def accept(self, answer: Answer) -> None:
        """The version is published; nodes sample the next batch from it."""
        self.policies.append(answer.values["policy"])
        for name, path in answer.files.items():
            if name.startswith("prompts-"):
                batch, prompts = unpack_prompts(path.read_bytes())
                self.prompts[batch] = prompts
        version = len(self.policies) - 1
        if version < RECIPE.run.versions:
            self.inputs.append((self._sampled(version),))

    def _sampled(self, batch: int) -> ResultInput:
        """Both orders of each prompt's two letters: one of them earns something."""
        work, policy, size = f"tiny.{batch + 2}", self.policies[-1], RECIPE.run.groups_per_update
        groups = []
        for prompt in self.prompts[batch]:
            letters = prompt[-3:-1]
            ways = [(*letters, TOKENIZER.eos_id), (*letters[::-1], TOKENIZER.eos_id)]
            rollouts = [Rollout(tokens, (-0.7, -0.1, -0.1), True) for tokens in ways]
            groups.append(rollouts * (RECIPE.run.group_size // 2))
        path = self.folder / f"result-{batch}"
        path.write_bytes(pack_rollouts(groups, work=work, policy=policy))
        blob = describe_file(path)
        self.blobs[blob.digest] = path
        indices = tuple(range(batch * size, (batch + 1) * size))
        return ResultInput(work=work, result=blob, version=batch, policy=policy, groups=indices)


def facts(answer: Answer) -> tuple[str, dict[str, bytes]]:
    return answer.values["policy"], {n: p.read_bytes() for n, p in answer.files.items()}


@pytest.fixture
def kinds() -> Iterator[MakeKind]:
    """Makes update kinds, each a process that may die; ends their graders."""
    made: list[UpdateKind] = []

    def make() -> UpdateKind:
        made.append(UpdateKind())
        return made[-1]

    yield make
    for kind in made:
        kind.close()


@pytest.fixture
def trusted(tmp_path: Path, start: Path) -> Trusted:
    return Trusted(tmp_path, start)


def run_to(trusted: Trusted, kind: UpdateKind, version: int) -> None:
    for _ in range(version):
        trusted.accept(trusted.ask(kind, "memory"))


def test_weights_move_at_every_version_of_this_test(trusted: Trusted, kinds: MakeKind) -> None:
    run_to(trusted, kinds(), 4)
    assert len(set(trusted.policies)) == 4


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("moment", ["learned", "half an outbox", "outbox", "checkpoint", "told"])
def test_an_update_killed_at_any_step_comes_out_the_same(
    trusted: Trusted, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch, moment: str, every: int
) -> None:
    monkeypatch.setattr(learner, "CHECKPOINT_EVERY", every)
    calm = Trusted(trusted.folder / "calm", trusted.start)
    calm.folder.mkdir()
    kind = kinds()
    run_to(calm, kind, 2)
    expected = facts(calm.ask(kind, "memory"))

    run_to(trusted, kind := kinds(), 2)
    with monkeypatch.context() as dying:
        _die(dying, moment)
        with suppress(Killed):
            trusted.ask(kind, "memory")
    assert facts(trusted.ask(kinds(), "memory")) == expected


def _die(dying: pytest.MonkeyPatch, moment: str) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise Killed

    if moment == "learned":
        dying.setattr(learner.Learner, "publish", killed)
    elif moment == "half an outbox":
        dying.setattr(learner, "_write_whole", killed)
    elif moment == "outbox":
        dying.setattr(learner.Learner, "_remember", killed)
    elif moment == "checkpoint":
        dying.setattr(learner.Learner, "outbox", killed)


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


def test_a_machine_that_computes_otherwise_is_stopped_before_it_publishes(
    trusted: Trusted, kinds: MakeKind
) -> None:
    run_to(trusted, kind := kinds(), 2)
    trusted.policies[-1] = "sha256:" + "0" * 64
    trusted.inputs[-1] = tuple(
        replace_policy(each, trusted.policies[-1]) for each in trusted.inputs[-1]
    )
    with pytest.raises(WorkFailed, match="compute alike"):
        trusted.ask(kind, "memory")


def replace_policy(each: ResultInput, policy: str) -> ResultInput:
    return each.model_copy(update={"policy": policy})


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
