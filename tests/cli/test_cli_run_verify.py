"""`archipel run verify`: what holds, what does not, and what could not be looked at."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.cli import verification
from archipel.cli.archipel import run
from archipel.cli.doors import Mendable
from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.recomputing import ALL, Asked
from archipel.cli.run_blobs import Altered, FolderBlobs, NotKept
from archipel.cli.verification import verify_run
from archipel.lab.run_story import RunStory, Update
from archipel.model.manifest import Manifest, describe
from archipel.model.versions import decode_anchor, encode_anchor
from archipel.records.canonical import sha256_digest
from archipel.records.documents import inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.work.verifying import Regrading
from recorded import Files, Recorded, recorded
from small_ledger import grow
from tiny import SECRET
from work.trusted import RECIPE

VERSIONS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded(tmp_path_factory.mktemp("made"), VERSIONS)


@pytest.fixture
def story(made: Recorded) -> RunStory:
    """To be spoilt by one test alone."""
    mine = copy(made.story)
    mine.updates, mine.exams = list(made.story.updates), list(made.story.exams)
    mine.results = dict(made.story.results)
    mine.group_in = dict(made.story.group_in)
    return mine


@pytest.fixture
def files(made: Recorded, tmp_path: Path) -> Files:
    mine = Files(tmp_path)
    mine.data = dict(made.files.data)
    return mine


def verified(story: RunStory, files: Files, **more: object) -> Findings:
    findings = Findings(lambda where: None)
    plain = {
        "rewards": False,
        "updates": 0,
        "evaluations": 0,
        "secret": None,
        "known_recipes": (),
    }
    verify_run(story, files, findings, Asked(**(plain | {"scratch": files.folder} | more)))
    return findings


@pytest.mark.slow
def test_evaluations_are_made_again_from_the_weights_that_they_name(
    story: RunStory, files: Files
) -> None:
    found = verified(story, files, evaluations=ALL, secret=SECRET)
    assert found.faults == []
    assert found.checked["evaluations made again"] == 2
    assert found.checked["reports of evaluations"] == 2
    newest = verified(story, files, evaluations=1, secret=SECRET)
    assert newest.checked["evaluations made again"] == 1
    assert "1 evaluations: not asked (--evaluations all)" in newest.not_checked()
    without = verified(story, files)
    assert any(
        line.startswith("2 evaluations: not asked (--evaluations") for line in without.not_checked()
    )
    graded = verified(story, files, evaluations=None, rewards=True, secret=SECRET)
    assert graded.checked["evaluations made again"] == 1
    blind = verified(story, files, evaluations=ALL)
    assert blind.checked["evaluations made again"] == 0
    assert any("needs the secret" in line for line in blind.not_checked())


def test_a_score_that_was_not_reached_is_found_by_examining_again(
    story: RunStory, files: Files
) -> None:
    exam = story.exams[-1]
    metrics = {**exam.answer.metrics, "greedy": exam.answer.metrics["greedy"] + 1}
    report = json.loads(files.read(exam.answer.report)) | {"metrics": metrics}
    blob = files.put(json.dumps(report).encode())
    answer = exam.answer.model_copy(update={"metrics": metrics, "report": blob})
    story.exams[-1] = replace(exam, answer=answer)
    assert verified(story, files).faults == []
    (fault,) = verified(story, files, evaluations=1, secret=SECRET).faults
    assert fault.startswith(f"evaluation of version {VERSIONS}: greedy is ")
    assert f"{metrics['greedy']} in the ledger" in fault


def test_a_report_that_says_something_else_than_its_record_is_found(
    story: RunStory, files: Files
) -> None:
    exam = story.exams[0]
    other = exam.answer.model_copy(update={"metrics": {**exam.answer.metrics, "greedy": 7}})
    story.exams[0] = replace(exam, answer=other)
    assert verified(story, files).faults == [
        "report on version 0: it says something else than its record"
    ]
    for data in (b"", b"[]", b'{"version": 0}', b"\xff", b"[" * 5000):
        answer = exam.answer.model_copy(update={"report": files.put(data)})
        story.exams[0] = replace(exam, answer=answer)
        assert verified(story, files).faults == [
            "report on version 0: it cannot be read as a report"
        ]


def test_an_evaluation_whose_weights_are_gone_is_counted_as_not_checked(
    story: RunStory, files: Files
) -> None:
    for update in story.updates:
        for blob in (update.answer.anchor, update.answer.delta):
            if blob is not None:
                files.data.pop(blob.digest, None)
    found = verified(story, files, evaluations=ALL, secret=SECRET)
    assert found.faults == []
    assert "2 evaluations: gone" in found.not_checked()


def test_an_evaluation_by_a_stranger_of_other_weights_or_twice_is_found(story: RunStory) -> None:
    assert list(story.faults()) == []
    first, last = story.exams
    elsewhere = first.answer.model_copy(update={"policy": last.answer.policy})
    nowhere = last.answer.model_copy(update={"version": VERSIONS + 1})
    story.exams[:] = [
        replace(first, author="did:key:stranger"),
        replace(first, answer=elsewhere),
        replace(last, answer=nowhere),
    ]
    found = "\n".join(story.faults())
    for words in (
        "version 0 came from did:key:stranger, whom the run does not trust",
        "version 0 is of other weights than that version's",
        "version 0 was accepted more than once",
        f"version {VERSIONS + 1} is of a version that does not exist",
    ):
        assert f"the evaluation of {words}" in found


def test_the_learner_s_checkpoints_are_named_among_what_was_not_looked_into(
    story: RunStory, files: Files
) -> None:
    assert not any("checkpoints" in line for line in verified(story, files).not_checked())
    for number in (1, 3):
        update = story.updates[number]
        story.updates[number] = with_answer(update, memory=update.answer.manifest)
    (line,) = [each for each in verified(story, files).not_checked() if "checkpoints" in each]
    assert line == "the learner's checkpoints of 2 versions (1, 3): nobody looked into them"


def with_answer(update: Update, **changed: object) -> Update:
    return replace(update, answer=update.answer.model_copy(update=changed))


def test_a_run_that_was_honest_holds_in_all_parts(story: RunStory, files: Files) -> None:
    found = verified(story, files, rewards=True, updates=ALL, secret=SECRET)
    assert found.faults == []
    assert not found.missing
    assert found.checked["versions from their delta"] == VERSIONS
    assert found.checked["versions from their anchor"] == 3
    assert found.checked["results"] == VERSIONS
    assert found.checked["versions' rewards"] == VERSIONS
    assert found.checked["updates made again"] == VERSIONS
    assert any("audits" in line for line in found.not_checked())


def test_what_was_not_asked_for_is_said(story: RunStory, files: Files) -> None:
    listed = verified(story, files).not_checked()
    assert (
        sum(line.startswith(("rewards: not asked", "updates: not asked")) for line in listed) == 2
    )
    few = verified(story, files, updates=1, secret=SECRET)
    assert few.checked["updates made again"] == 1
    assert "2 updates: not asked (--updates all)" in few.not_checked()
    without = verified(story, files, rewards=True)
    assert without.checked["versions' rewards"] == 0
    assert any("needs the secret" in line for line in without.not_checked())


def test_weights_that_were_not_made_from_their_inputs_are_found_by_making_them_again(
    story: RunStory, files: Files
) -> None:
    first, last = story.updates[0].answer, story.updates[-1]
    del story.exams[-1]
    assert first.anchor is not None
    weights = decode_anchor(
        files.read(first.anchor), Manifest.from_bytes(files.read(first.manifest))
    )
    manifest = describe(weights, VERSIONS, last.answer.parent)
    story.updates[-1] = with_answer(
        last,
        policy=manifest.state,
        manifest=files.put(manifest.to_bytes()),
        anchor=files.put(encode_anchor(weights)),
        delta=None,
    )
    assert verified(story, files, rewards=True, secret=SECRET).faults == []
    (fault,) = verified(story, files, updates=ALL, secret=SECRET).faults
    assert fault.startswith("version 3: this machine makes it sha256:")


def test_a_reward_that_was_not_given_is_found_by_grading_again(
    story: RunStory, files: Files
) -> None:
    told = story.updates[2].answer.metrics
    story.updates[2] = with_answer(story.updates[2], metrics={**told, "reward_micro": 1_000_000})
    assert verified(story, files).faults == []
    (fault,) = verified(story, files, rewards=True, secret=SECRET).faults
    assert "reward of version 2: " in fault
    assert "1000000 in the ledger" in fault


def test_answers_to_a_prompt_that_was_cut_count_as_nothing_as_they_did_for_the_learner(
    made: Recorded, story: RunStory, files: Files
) -> None:
    batch = {}
    for each in story.inputs(1):
        batch |= rollouts_of(story, files, each)
    config = json.loads((made.start / "config.json").read_text())
    longest = config["max_position_embeddings"] - 1
    sampling = RECIPE.sampling.model_copy(update={"max_new_tokens": longest})
    for recipe, is_paid in (
        (RECIPE, True),
        (RECIPE.model_copy(update={"sampling": sampling}), False),
    ):
        with Regrading(recipe, SECRET, made.start) as regrading:
            assert bool(regrading.mean_micro(batch)) == is_paid


@pytest.mark.slow
def test_a_machine_without_the_environment_s_package_says_so_and_blames_nobody(
    story: RunStory, files: Files
) -> None:
    section = RECIPE.environment.model_copy(
        update={"name": "reasoning_gym", "secret": None, "parameters": {"task": "no such task"}}
    )
    recipe = RECIPE.model_copy(update={"environment": section})
    assert story.opened is not None
    story.opened = story.opened.model_copy(update={"recipe": files.put(recipe.canonical_bytes())})
    found = verified(story, files, rewards=True, updates=ALL)
    assert found.faults == []
    assert sum("cannot be done here: " in line for line in found.not_checked()) == 2


def _flipped(story: RunStory, files: Files) -> str:
    blob = story.updates[1].answer.delta
    assert blob is not None
    files.data[blob.digest] = bytes([files.data[blob.digest][0] ^ 1]) + files.data[blob.digest][1:]
    return "version 1: sha256:"


def _other_manifest(story: RunStory, files: Files) -> str:
    other = story.updates[2].answer.manifest
    story.updates[1] = with_answer(story.updates[1], manifest=other)
    return "version 1: the manifest is of version 2"


def _other_delta(story: RunStory, files: Files) -> str:
    story.updates[1] = with_answer(story.updates[1], delta=story.updates[2].answer.delta)
    return "version 1: delta"


def _other_result(story: RunStory, files: Files) -> str:
    (work, each), (_, other) = list(story.results.items())[:2]
    answer = each.answer.model_copy(update={"result": other.answer.result})
    story.results[work] = each.model_copy(update={"answer": answer})
    return f"{work}: payload names work"


def _fewer_tokens(story: RunStory, files: Files) -> str:
    work, each = next(iter(story.results.items()))
    answer = each.answer.model_copy(update={"num_tokens": 1})
    story.results[work] = each.model_copy(update={"answer": answer})
    return f"{work}: num_tokens says 1"


@pytest.mark.parametrize(
    "spoil", [_flipped, _other_manifest, _other_delta, _other_result, _fewer_tokens]
)
def test_bytes_that_are_not_what_was_published_are_named(
    story: RunStory, files: Files, spoil: Callable[[RunStory, Files], str]
) -> None:
    expected = spoil(story, files)
    faults = verified(story, files).faults
    assert any(fault.startswith(expected) for fault in faults), faults


def test_what_is_not_kept_is_counted_and_the_next_anchor_goes_on(
    story: RunStory, files: Files
) -> None:
    for blob in (story.updates[1].answer.delta, story.updates[0].answer.anchor):
        assert blob is not None
        del files.data[blob.digest]
    gone = next(iter(story.results.values()))
    del files.data[gone.answer.result.digest]
    found = verified(story, files, rewards=True, updates=ALL, secret=SECRET)
    assert found.faults == []
    assert found.checked["versions from their anchor"] == 2
    assert found.checked["versions from their delta"] == 1
    assert found.checked["results"] == VERSIONS - 1
    assert found.checked["versions' rewards"] == VERSIONS - 1
    listed = found.not_checked()
    assert "1 results: gone" in listed
    assert any("versions' weights" in line for line in listed)
    assert any("updates: version 1 could not be made again" in line for line in listed)


def test_a_lab_that_broke_the_run_s_own_rules_is_found(made: Recorded, story: RunStory) -> None:
    assert list(story.faults()) == []
    stranger = replace(story.updates[2], author="did:key:stranger")
    elsewhere = replace(
        story.updates[3],
        spec=story.updates[3].spec.model_copy(update={"inputs": inputs_digest(())}),
    )
    story.updates[2:] = [stranger, elsewhere]
    work, each = next(iter(story.results.items()))
    assert isinstance(each.spec, RolloutSpec)
    late = each.spec.model_copy(update={"groups": tuple(g + 8 for g in each.spec.groups)})
    story.results[work] = each.model_copy(update={"spec": late})
    story.operators = frozenset()
    assert story.opened is not None
    story.hear(story.opened)
    found = "\n".join(story.faults())
    for words in (
        "who is no operator",
        "version 2 was published by did:key:stranger",
        "version 3 was asked to be made from",
        f"{work} is 2 versions stale",
    ):
        assert words in found


def test_a_recipe_that_reads_files_here_runs_only_if_it_was_named(
    story: RunStory, files: Files
) -> None:
    section = RECIPE.environment.model_copy(
        update={"name": "jsonl", "secret": None, "parameters": {"path": "/etc/passwd"}}
    )
    recipe = RECIPE.model_copy(update={"environment": section})
    assert story.opened is not None
    story.opened = story.opened.model_copy(update={"recipe": files.put(recipe.canonical_bytes())})
    found = verified(story, files, rewards=True)
    assert any("read the recipe, and name it with --recipe" in line for line in found.not_checked())
    with pytest.raises(Mendable, match="the one that you named is"):
        verified(story, files, rewards=True, known_recipes=("sha256:other",))


def test_a_copied_home_is_read_and_stays_as_it_is(tmp_path: Path) -> None:
    data = b"some bytes"
    blob = BlobRef(digest=sha256_digest(data), size=len(data))
    name = blob.digest.removeprefix("sha256:")
    path = tmp_path / "blobs" / name[:2] / name[2:]
    with pytest.raises(NotKept, match="archipel lab backup --all-blobs"):
        FolderBlobs(tmp_path / "blobs").read(blob)
    assert list(tmp_path.iterdir()) == []
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert FolderBlobs(tmp_path / "blobs").path(blob) == path
    for other in (data[:-1], data + b"!", b"s0me bytes"):
        path.write_bytes(other)
        with pytest.raises(Altered):
            FolderBlobs(tmp_path / "blobs").read(blob)
    assert path.read_bytes() == b"s0me bytes", "evidence is not removed"


def verify(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["run", "verify", *arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def test_the_command_ends_in_one_sentence_and_ctrl_c_in_what_was_found_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))
    home = grow(tmp_path / "lab", 0, 1).parent
    code, _, err = verify("mine", "--home", str(home))
    assert (code, err.count("\n")) == (1, 1)
    assert "opens no run 'mine'" in err
    assert list((tmp_path / "own").iterdir()) == [tmp_path / "own" / "verify"]
    elsewhere = tmp_path / "elsewhere"
    assert verify("mine", "--home", str(home), "--scratch", str(elsewhere))[0] == 1
    assert elsewhere.is_dir(), "what is fetched or made again is kept where one says"
    assert verify("mine", "--home", str(home), "--lab", "http://127.0.0.1:9")[0] == 2
    assert verify("mine", "--home", str(home), "--updates", "some")[0] == 2

    def interrupted(story: object, blobs: object, findings: Findings, asked: object) -> None:
        findings.checked["results"] += 7
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "verify_run", interrupted)
    code, out, err = verify("mine", "--home", str(home), "--json")
    told = json.loads(out)
    assert (code, told["checked"]) == (130, {"results": 7})
    assert "stopped this" in told["not_checked"][-1]
