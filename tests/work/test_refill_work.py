"""Batches that ask for further groups, between a node and the trusted role: the central loop's weights to the bit."""

from contextlib import closing
from pathlib import Path

import pytest
import torch

from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.prompts import unpack_prompts
from archipel.records.recipe import Recipe
from archipel.records.rollouts import bounds_of, pack_rollouts, unpack_rollouts
from archipel.training.environments.judgement import Judgement
from archipel.training.refill import batches_of
from archipel.work.kind import Answer, WorkFailed
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from archipel.work.verifying import Remaking
from tiny import NAME, tiny_recipe
from work import asked, played, test_wording_work
from work.played import Played

torch.set_num_threads(1)
SIZE, VERSIONS = 4, 3


def recipe(**sections: object) -> Recipe:
    told = tiny_recipe(VERSIONS, 0).model_dump()
    told["run"] |= {"group_size": 4, "anchor_every": 1, "checkpoint_every": 2}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 8}
    told["algorithm"] |= {"refill": 3}
    return Recipe.model_validate(told | {"supervised": None} | sections)


def marks(shown) -> list[float]:
    """Three groups in five may teach something."""
    return [float(each.index % 5 < 3 and len(each.completion) % 2) for each in shown]


class InProcess:
    """A grader without a process of its own, which counts what it grades."""

    def __init__(self) -> None:
        self.faults: dict = {}
        self.graded_groups: list[int] = []

    def graded(self, shown):
        self.graded_groups += dict.fromkeys(each.index for each in shown)
        return tuple(map(Judgement, marks(shown)))

    def grade(self, shown):
        return tuple(marks(shown))

    def close(self):
        """Nothing to end."""


@pytest.fixture
def grader(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    made = InProcess()
    monkeypatch.setattr("archipel.work.learner.grader_of", lambda *_: made)
    monkeypatch.setattr(test_wording_work, "marks", marks)
    monkeypatch.setitem(played.episodes.PLAYED, "parrot", "parrot-1")
    return made


@pytest.fixture
def start(tmp_path: Path, grader: InProcess) -> Path:
    return played.write_start(tmp_path / "start")


class Refilled(Played):
    """A trusted role that is given what its batches ask for."""

    def __init__(self, folder: Path, start: Path, of: Recipe | None = None) -> None:
        super().__init__(folder, start, of=of or recipe())
        self.further = 0
        self.asks: list[tuple[int, int]] = []
        """(version, groups) of each time that a batch asked for more."""

    def run(self, fresh: bool = False) -> list[str]:
        """fresh: every work is done by a process of its own."""
        kind = Updates()
        while len(self.policies) <= self.recipe.run.versions:
            self.step(self.ask(kind, "memory"))
            if fresh:
                kind.close()
                kind = Updates()
        kind.close()
        return self.policies

    def step(self, answer: Answer) -> None:
        """As a lab takes an answer in, and a node samples what may be sampled then."""
        files, version = answer.files, len(self.policies)
        for name, path in files.items():
            if name.startswith("prompts-"):
                batch, self.prompts[batch] = unpack_prompts(path.read_bytes())
                self.told = getattr(self, "told", {}) | {batch: path.read_bytes()}
        more = answer.values.get("more")
        if more is not None:
            assert answer.values["policy"] == self.policies[-1]
            self.asks.append((version, more))
            groups = batches_of(self.recipe).further(version - 1)
            self.inputs[-1] += (self.work(groups[self.further : self.further + more], version - 1),)
            self.further += more
            return
        self.further = 0
        self.link = LinkMessage(
            version=version, policy=answer.values["policy"], manifest=files["manifest"],
            anchor=files["anchor"], delta=None,
        )  # fmt: skip
        self.metrics.append(answer.values["metrics"])
        self.accept(answer)

    def _sampled(self, batch: int) -> AcceptedWork:
        return self.work(batches_of(self.recipe).first(batch), batch)

    def work(self, groups: range, version: int) -> AcceptedWork:
        """One result of a node."""
        needed = sorted({group // SIZE for group in groups})
        blobs = [self._kept(f"prompts-{number}", self.told[number]) for number in needed]
        work = f"{NAME}.{groups.start + 1}"
        spec = RolloutSpec(
            run=NAME, version=version, policy=self.policies[-1], groups=tuple(groups),
            prompts=tuple(blobs),
        )  # fmt: skip
        given = {"chain": (self.link,), "blobs": self.blobs, "work": work}
        context = played.stopping(asked.context(self.recipe, self.start, self.folder, **given))
        answer = self.node.run(spec, context, lambda tokens: None)
        data = answer.files["rollouts"].read_bytes()
        bounds = bounds_of(
            context.opened.pace, work=work, policy=spec.policy, num_groups=len(groups)
        )
        packed = pack_rollouts(unpack_rollouts(data, bounds), work=work, policy=spec.policy)
        blob = BlobRef(digest=sha256_digest(packed), size=len(packed))
        assert self._kept(f"result-{groups.start}", packed) == blob
        words = RolloutAnswer(
            policy=spec.policy, result=blob, num_tokens=answer.values["num_tokens"], busy_ms=1
        )
        return AcceptedWork(work=work, spec=spec, answer=words)


@pytest.fixture
def whole(tmp_path: Path, start: Path) -> Refilled:
    made = Refilled(tmp_path / "made", start)
    made.run()
    return made


def test_a_node_and_the_trusted_role_make_the_central_loops_weights_bit_for_bit(
    whole: Refilled, start: Path, grader: InProcess
) -> None:
    assert whole.policies == test_wording_work.central(start, recipe())
    assert len(set(whole.policies)) == VERSIONS + 1, "something was learned"
    assert whole.asks[0][0] == 1
    further = [each["further_groups"] for each in whole.metrics[1:]]
    assert further == [
        sum(more for version, more in whole.asks if version == number) for number in (1, 2, 3)
    ]
    assert [each["groups"] for each in whole.metrics[1:]] == [SIZE + more for more in further]
    for made in whole.metrics[1:]:
        assert made["groups"] - made["zero_advantage_groups"] >= SIZE or made["groups"] == 4 * SIZE
    assert len(grader.graded_groups) == len(set(grader.graded_groups)), "each group once"


def test_processes_that_begin_anew_ask_for_the_same_and_make_the_same(
    whole: Refilled, start: Path, tmp_path: Path
) -> None:
    again = Refilled(tmp_path / "again", start)
    assert again.run(fresh=True) == whole.policies
    assert again.asks == whole.asks


def test_whoever_makes_the_versions_again_finds_what_a_lab_added_or_kept_back(
    whole: Refilled, tmp_path: Path
) -> None:
    def remade(inputs: tuple[AcceptedWork, ...], name: str) -> str:
        (tmp_path / name).mkdir()
        context = whole.context("nowhere", 0).model_copy(update={"checkpoint": None})
        with closing(Remaking(context, tmp_path / name, -1)._learner) as learner:
            step = {"inputs": inputs, "blobs": whole.blobs}
            learner.replay(context.model_copy(update=step))
            return learner.policy.manifest.state

    right = whole.inputs[1]
    assert remade(right, "right") == whole.policies[1]
    with pytest.raises(WorkFailed, match="wants"):
        remade(right[:-1], "less")
    further = batches_of(whole.recipe).further(0)
    taken = sum(len(each.spec.groups) for each in right) - SIZE
    assert taken < len(further), "or there is nothing to add"
    with pytest.raises(WorkFailed, match="further groups; it asked for"):
        remade((*right, _copied(whole, right, further[taken : taken + 1])), "more")


def _copied(whole: Refilled, right: tuple[AcceptedWork, ...], groups: range) -> AcceptedWork:
    """A result of a group that nobody asked for, with what another one has."""
    pace, first, work = asked.opened(whole.recipe).pace, right[0], f"{NAME}.999"
    pace = pace.model_copy(update={"stop_tokens": tuple(played.ENDS)})
    bounds = bounds_of(pace, work=first.work, policy=first.spec.policy, num_groups=SIZE)
    given = unpack_rollouts(whole.blobs[first.answer.result.digest].read_bytes(), bounds)
    blob = whole._kept("more", pack_rollouts(given[:1], work=work, policy=first.spec.policy))
    spec = first.spec.model_copy(update={"groups": tuple(groups)})
    answer = first.answer.model_copy(update={"result": blob})
    return AcceptedWork(work=work, spec=spec, answer=answer)


@pytest.mark.slow
def test_a_curriculum_gives_further_groups_tasks_that_no_other_group_of_the_batch_has(
    tmp_path: Path, start: Path, grader: InProcess
) -> None:
    made = Refilled(tmp_path / "made", start, recipe(curriculum={"pool": 20}))
    made.run()
    assert made.asks
    for version, _ in made.asks:
        batches = batches_of(made.recipe)
        blocks = [version - 1, *(n for n in batches.blocks(version - 1) if n in made.prompts)]
        prompts = [tuple(p) for block in blocks for p in made.prompts[block]]
        assert len(set(prompts)) == len(prompts)
