"""What a release was made from, made again: equal stages are equal, and every lie is named by its stage."""

import json
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.cli.rebuilding import Rebuilding, Subject
from archipel.cli.rebuilding_stages import rebuild
from archipel.cli.rebuilt_so_far import folder_of, keep_outcomes, read_outcomes
from archipel.cli.run_blobs import FolderBlobs
from archipel.lab.run_story import RunStory
from archipel.model.manifest import Manifest, describe
from archipel.model.versions import decode_anchor, encode_anchor
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.made import NAME as MADE
from archipel.records.made import read_made
from archipel.records.rollouts import Rollout, bounds_of, pack_rollouts, unpack_rollouts
from archipel.records.statements import ModelFile
from archipel.release.stages import Outcome, chosen, kinds_rebuilt, shares, stages_of
from exact.exact_run import ExactRun
from recorded import Files, Recorded, recorded
from tiny import SECRET

VERSIONS = 3
KNOWN = {"supervised", "update-1", "update-2", "update-3", "evaluation-0", "evaluation-3"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded(tmp_path_factory.mktemp("made"), VERSIONS)


@pytest.fixture
def story(made: Recorded) -> RunStory:
    """To be spoilt by one test alone."""
    mine = copy(made.story)
    mine.updates, mine.results = list(made.story.updates), dict(made.story.results)
    return mine


@pytest.fixture
def files(made: Recorded, tmp_path: Path) -> Files:
    mine = Files(tmp_path)
    mine.data = dict(made.files.data)
    return mine


def subject(story: RunStory, files: object, folder: Path, secret: bytes = SECRET) -> Subject:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return Subject(story, files, secret, (), scratch, 1, "here")  # type: ignore[arg-type]


def again(of: Subject, asked: str = "all", told: Callable[[str], None] = len) -> dict[str, Outcome]:
    stages = chosen(stages_of(of.story), asked)
    return {each.stage: each for each in rebuild(Rebuilding(of, told), stages)}


def came(found: dict[str, Outcome]) -> dict[str, str]:
    return {name: each.came for name, each in found.items()}


@pytest.mark.slow
def test_every_stage_comes_out_the_same(story: RunStory, files: Files, tmp_path: Path) -> None:
    found = again(subject(story, files, tmp_path))
    made_again = {name: how for name, how in came(found).items() if name in KNOWN}
    assert made_again == dict.fromkeys(KNOWN, "equal")
    assert {how for name, how in came(found).items() if name not in KNOWN} == {"not shown"}
    assert "floating point" in found["rollouts-0"].why
    assert all(each.processor_s > 0 for name, each in found.items() if name in KNOWN)
    kinds = kinds_rebuilt(stages_of(story), found, by_its_code=True)
    assert {name for name, is_equal in kinds.items() if not is_equal} == {
        "dataset",
        "inference_code",
    }
    half = kinds_rebuilt(stages_of(story), {**found, "update-2": replace(found["update-2"], came="near")}, by_its_code=True)  # fmt: skip
    assert not half["parameters"]
    assert not half["training_code"]
    assert not kinds_rebuilt(stages_of(story), found, by_its_code=False)["training_code"]
    shown = {each.of: (each.made, each.total) for each in shares(stages_of(story), found)}
    assert shown["update"] == (3, 3)
    assert shown["rollouts"][0] == 0 < shown["rollouts"][1]


def test_one_rollout_changed_with_its_digests_redone_is_named_by_the_update_that_it_went_into(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    (each,) = story.inputs(2)
    spec, answer = each.spec, each.answer
    assert isinstance(spec, RolloutSpec)
    bounds = bounds_of(story.pace, work=each.work, policy=spec.policy, num_groups=len(spec.groups))
    groups = [list(group) for group in unpack_rollouts(files.read(answer.result), bounds)]
    one = groups[0][0]
    groups[0][0] = Rollout((one.tokens[1], *one.tokens[1:]), one.logprobs, one.finished)
    result = files.put(pack_rollouts(groups, work=each.work, policy=spec.policy))
    changed = answer.model_copy(update={"result": result})
    story.results[each.work] = each.model_copy(update={"answer": changed})
    found = again(subject(story, files, tmp_path), "updates")
    assert came(found) == {"update-1": "equal", "update-2": "differs", "update-3": "not shown"}
    assert "follows from version 2" in found["update-3"].why


def test_rewards_by_another_secret_are_named(story: RunStory, files: Files, tmp_path: Path) -> None:
    found = again(subject(story, files, tmp_path, b"another secret"), "update-1")
    assert came(found) == {"update-1": "differs"}
    assert "another secret" in found["update-1"].why


def test_weights_put_in_a_versions_place_are_named(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    """Manifest, digests and delta lead to these weights honestly; only nothing was learned to get there."""
    update = story.updates[2]
    manifest = Manifest.from_bytes(files.read(update.answer.manifest))
    assert update.answer.anchor is not None
    state = decode_anchor(files.read(update.answer.anchor), manifest)
    name = sorted(state)[0]
    state = {**state, name: state[name] + 1}
    other = describe(state, 2, manifest.parent)
    answer = update.answer.model_copy(
        update={
            "policy": other.state,
            "manifest": files.put(other.to_bytes()),
            "anchor": files.put(encode_anchor(state)),
            "delta": None,
        }
    )
    story.updates[2] = replace(update, answer=answer)
    found = again(subject(story, files, tmp_path), "updates")
    assert came(found) == {"update-1": "equal", "update-2": "differs", "update-3": "not shown"}
    assert "weights differ" in found["update-2"].why
    only = again(subject(story, files, tmp_path), "update-3")
    assert came(only) == {"update-3": "not shown"}


def test_a_delta_that_leads_elsewhere_is_named_although_the_version_comes_out(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    update, other = story.updates[1], story.updates[2]
    answer = update.answer.model_copy(update={"delta": other.answer.delta})
    story.updates[1] = replace(update, answer=answer)
    found = again(subject(story, files, tmp_path), "updates")
    assert came(found) == {"update-1": "differs", "update-2": "equal", "update-3": "equal"}


def test_prompts_that_are_no_tasks_of_the_recipe_are_named(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    update = story.updates[1]
    (batch,) = update.answer.prompts
    foreign = story.updates[0].answer.prompts[0].blob
    answer = update.answer.model_copy(
        update={"prompts": (batch.model_copy(update={"blob": foreign}),)}
    )
    story.updates[1] = replace(update, answer=answer)
    found = again(subject(story, files, tmp_path), "updates")
    assert found["update-1"].came == "differs"
    assert "prompts of batch 1" in found["update-1"].why


@pytest.mark.slow
def test_a_start_is_made_by_its_makers_word_or_shown_to_be_another(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    opened = story.opened
    assert opened is not None
    named = {each.name: each for each in opened.model}
    said = read_made(files.read(named[MADE].blob))
    assert said.weights == story.updates[0].answer.policy

    def with_made(data: bytes | None) -> RunStory:
        rest = [each for each in opened.model if each.name != MADE]
        own = [] if data is None else [ModelFile(name=MADE, blob=files.put(data))]
        mine = copy(story)
        mine.opened = opened.model_copy(update={"model": (*rest, *own)})
        return mine

    def one(data: bytes | None) -> Outcome:
        (found,) = again(subject(with_made(data), files, tmp_path), "supervised").values()
        return found

    changed = said.model_copy(update={"weights": f"sha256:{'0' * 64}"})
    assert one(changed.to_bytes()).came == "differs"
    given = said.model_copy(update={"began": f"sha256:{'0' * 64}"})
    assert (one(given.to_bytes()).came, "does not hold" in one(given.to_bytes()).why) == ("not shown", True)  # fmt: skip
    shorter = json.loads(said.recipe)
    shorter["supervised"]["steps"] = 3
    recipe = said.followed().model_validate(shorter)
    false = said.model_copy(update={"recipe": recipe.canonical_bytes().decode()})
    elsewhere = one(false.to_bytes())
    assert (elsewhere.came, "adds up" in elsewhere.why) == ("not shown", True)
    here = false.model_copy(update={"machine": "here"})
    assert one(here.to_bytes()).came == "differs"
    assert one(b"{").came == "differs"
    assert one(None).came == "equal"  # the run's own recipe has the same stage


def test_what_was_stopped_goes_on_and_makes_no_stage_twice(
    story: RunStory, files: Files, tmp_path: Path
) -> None:
    of, told = subject(story, files, tmp_path), list[str]()
    begun: Iterator[Outcome] = rebuild(
        Rebuilding(of, told.append), chosen(stages_of(story), "updates")
    )
    kept = {each.stage: each for each in (next(begun), next(begun))}
    begun.close()  # type: ignore[attr-defined]  # as Ctrl-C ends it
    keep_outcomes(of.scratch, kept)
    assert read_outcomes(of.scratch) == kept
    rest = again(of, "update-3")
    assert came(rest) == {"update-3": "equal"}
    assert came(again(of, "update-1")) == {"update-1": "equal"}
    keep_outcomes(of.scratch, {**kept, "x": Outcome("x", "not shown", "no grader here")})
    assert "x" not in read_outcomes(of.scratch), "what could not be looked at is asked again"
    path = of.scratch / "stages.json"
    path.write_bytes(path.read_bytes().replace(b'"equal"', b'"near"', 1))
    assert read_outcomes(of.scratch) == {}
    places = {
        folder_of(tmp_path, release, secret, software, (machine, threads))
        for release in ("a", "b")
        for secret in (None, b"s")
        for software in ("c", "d")
        for machine in ("m", "n")
        for threads in (1, 2)
    }
    assert len(places) == 32


@pytest.mark.slow
def test_rollouts_of_an_exact_run_are_sampled_again_and_the_one_that_was_changed_is_named(
    tmp_path: Path,
) -> None:
    ran = ExactRun(tmp_path)
    story = ran.story()
    found = again(subject(story, FolderBlobs(tmp_path / "blobs"), tmp_path), "rollouts")
    assert came(found) == {f"rollouts-{version}": "equal" for version in range(3)}
    each = story.results["tiny.4"]
    bounds = bounds_of(story.pace, work=each.work, policy=each.spec.policy, num_groups=2)
    groups = unpack_rollouts(ran.read(each.answer.result), bounds)
    one = groups[1][2]
    groups[1][2] = replace(one, logprobs=(*one.logprobs[:-1], one.logprobs[-1] - 1))
    result = ran.put(
        pack_rollouts(groups, work=each.work, policy=each.spec.policy, exact=bounds.exact)
    )
    changed = each.answer.model_copy(update={"result": result})
    story.results["tiny.4"] = each.model_copy(update={"answer": changed})
    found = again(subject(story, FolderBlobs(tmp_path / "blobs"), tmp_path), "rollouts")
    assert came(found) == {"rollouts-0": "equal", "rollouts-1": "differs", "rollouts-2": "equal"}
    assert "tiny.4: group 3, rollout 2" in found["rollouts-1"].why
