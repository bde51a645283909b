"""`archipel exact replay` and `run verify --replay`: an honest run is equal, and what is not is named."""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from archipel.cli import ledger_checked as ledger_room
from archipel.cli.archipel import run
from archipel.cli.findings import Findings
from archipel.cli.recomputing import ALL, Asked
from archipel.cli.replaying import sampled_works
from archipel.cli.run_blobs import FolderBlobs
from archipel.cli.verification import verify_run
from archipel.engine.exact.trace import traced
from archipel.engine.exact.trace_files import question_from
from archipel.lab import withdrawals
from archipel.lab.run_story import RunStory
from archipel.model.manifest import describe
from archipel.records.rollouts import Rollout, bounds_of, pack_rollouts, unpack_rollouts
from archipel.records.statements import LeaseGranted, WorkAnswered
from exact.exact_run import GROUPS, VERSIONS, ExactRun
from tiny import NAME

ROLLOUTS = GROUPS * 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ExactRun:
    return ExactRun(tmp_path_factory.mktemp("made"))


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command, over the statements of a run as if they had been read."""
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))

    def command(
        told: ExactRun, *arguments: str, withdrawn: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        def read_ledger(*args: object) -> object:
            for said in told.said():
                args[-1](SimpleNamespace(statement=said))  # type: ignore[operator]
            head, state = SimpleNamespace(size=9, root=b"root"), SimpleNamespace(state=None)
            return SimpleNamespace(did="did:key:lab", head=head, found=state)

        monkeypatch.setattr(ledger_room, "read_ledger", read_ledger)
        monkeypatch.setattr(withdrawals, "withdrawals", lambda state, name: withdrawn or {})
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            run(["exact", "replay", *arguments, "--home", str(told.folder)])
        return int(ended.value.code or 0), out.getvalue(), err.getvalue()

    return command


def spoilt(made: ExactRun, work: str, change: Callable[[Rollout], Rollout]) -> ExactRun:
    """A copy of the run in which the last rollout of one result is told otherwise."""
    other = object.__new__(ExactRun)
    other.__dict__ |= made.__dict__ | {"statements": dict(made.statements)}
    granted, answered = made.statements[work]
    assert isinstance(granted, LeaseGranted)
    assert isinstance(answered, WorkAnswered)
    policy = answered.answer.policy
    bounds = bounds_of(made.opened.pace, work=work, policy=policy, num_groups=GROUPS)
    groups = unpack_rollouts(made.read(answered.answer.result), bounds)
    groups[-1][-1] = change(groups[-1][-1])
    result = made.put(pack_rollouts(groups, work=work, policy=policy, exact=bounds.exact))
    answer = answered.answer.model_copy(update={"result": result})
    other.statements[work] = [granted, answered.model_copy(update={"answer": answer})]
    return other


def lower(rollout: Rollout) -> Rollout:
    return Rollout(
        rollout.tokens, (*rollout.logprobs[:-1], rollout.logprobs[-1] - 1), rollout.finished
    )


def test_an_honest_run_is_equal_from_ledger_and_blobs_alone(made: ExactRun, replay) -> None:
    code, out, err = replay(made, NAME, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert told["equal"] is True
    assert (told["results"], told["rollouts"]) == (VERSIONS, VERSIONS * ROLLOUTS)
    assert told["contract"] == made.opened.pace.exact
    code, out, _ = replay(made, f"{NAME}.4")
    assert code == 0
    assert f"{ROLLOUTS} rollouts in 1 results" in out
    assert "recomputed: equal" in out


def test_the_first_position_that_differs_is_said_and_the_exit_code_is_1(
    made: ExactRun, replay, tmp_path: Path
) -> None:
    lying = spoilt(made, f"{NAME}.4", lower)
    code, out, err = replay(lying, NAME)
    assert code == 1
    assert f"{NAME}.4: group {2 * GROUPS - 1}, rollout 2, position " in out
    assert "log-probability" in out
    assert err.count("\n") == 1
    kept = tmp_path / "question.json"
    code, out, _ = replay(lying, NAME, "--json", "--question", str(kept))
    question = question_from(json.loads(kept.read_text()))
    assert question.rollout == 2
    assert question.contract == made.opened.pace.exact
    state = made.states[1]
    assert question.weights == describe(state, 0, None).state
    right = traced(made.config, state, question).values[-1]
    assert tuple(right[:, 0].astype(int).tolist()) == question.tokens
    assert json.loads(out)["differences"][0].startswith(f"{NAME}.4: ")
    assert replay(lying, f"{NAME}.2")[0] == 0
    assert replay(lying, NAME, "--work", f"{NAME}.6", "--work", f"{NAME}.4")[0] == 1


def test_a_withdrawn_result_is_named_with_its_verdict_and_is_no_difference(
    made: ExactRun, replay
) -> None:
    why, lying = "a hard verdict on it: two say so", spoilt(made, f"{NAME}.4", lower)
    taken = {f"{NAME}.4": why}
    code, out, err = replay(lying, NAME, withdrawn=taken)
    assert (code, err) == (0, "")
    assert f"withdrawn by verdicts, and in no version:\n  {NAME}.4: {why}\n" in out
    assert f"in {VERSIONS - 1} results" in out
    code, out, _ = replay(lying, f"{NAME}.4", "--json", withdrawn=taken)
    told = json.loads(out)
    assert (code, told["differences"], told["faults"]) == (0, [], [])
    (line,) = told["withdrawn"]
    assert line.startswith(f"{NAME}.4: {why}; looked at here: group {2 * GROUPS - 1}, rollout 2")
    code, out, _ = replay(lying, f"{NAME}.4", withdrawn=taken)
    assert "1 withdrawn result differs" in out
    code, out, _ = replay(made, f"{NAME}.4", withdrawn=taken)
    assert code == 0
    assert f"{NAME}.4: {why}; looked at here: recomputed, and equal" in out
    story = lying.story()
    story.withdrawn = taken
    found = verified(story, made.folder, ALL)
    told = [fault for fault in found.faults if f"{NAME}.4" in fault]
    assert told == [f"version 2 was made from {NAME}.4, which was withdrawn by {why}"]
    assert found.told_withdrawn() == [f"{NAME}.4: {why}"]


def test_some_results_are_taken_by_chance_and_the_seed_says_which(made: ExactRun, replay) -> None:
    works = [f"{NAME}.{n}" for n in range(100)]
    assert sampled_works(works, 5, 1) == sampled_works(works, 5, 1) != sampled_works(works, 5, 2)
    assert sampled_works(works, 200, 0) == works
    code, out, _ = replay(made, NAME, "--sample", "2", "--seed", "1", "--json")
    assert (code, json.loads(out)["results"]) == (0, 2)


def test_what_cannot_be_replayed_is_one_sentence(made: ExactRun, replay, tmp_path: Path) -> None:
    other = object.__new__(ExactRun)
    for contract, words in ((None, "is not sampled by"), ("exact-9-w7a8-" + "0" * 16, "install")):
        pace = made.opened.pace.model_copy(update={"exact": contract})
        opened = made.opened.model_copy(update={"pace": pace})
        statements = {**made.statements, "": [made.statements[""][0], opened]}
        other.__dict__ |= made.__dict__ | {"statements": statements}
        code, out, err = replay(other, NAME)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert words in err
    for arguments, words in (
        (["other"], "opens no run 'other'"),
        ([f"{NAME}.99"], "no accepted result"),
    ):
        code, _, err = replay(made, *arguments)
        assert code == 1
        assert words in err
    assert replay(made, NAME, "--ledger", "x")[0] == 2
    empty = object.__new__(ExactRun)
    empty.__dict__ |= made.__dict__ | {"folder": tmp_path}
    code, _, err = replay(empty, NAME)
    assert (code, err.count("\n")) == (1, 1)


def test_an_answer_that_names_another_contract_than_the_run_does_not_hold(
    made: ExactRun, replay
) -> None:
    other = object.__new__(ExactRun)
    granted, answered = made.statements[f"{NAME}.4"]
    assert isinstance(answered, WorkAnswered)
    answer = answered.answer.model_copy(update={"exact": None})
    said = [granted, answered.model_copy(update={"answer": answer})]
    other.__dict__ |= made.__dict__ | {"statements": {**made.statements, f"{NAME}.4": said}}
    code, out, _ = replay(other, f"{NAME}.4")
    assert code == 1
    assert "sampled by no exact contract, the run asks for" in out


def test_what_is_not_kept_is_counted_and_is_not_equal(made: ExactRun, replay) -> None:
    answered = made.statements[f"{NAME}.5"][1]
    assert isinstance(answered, WorkAnswered)
    name = answered.answer.anchor.digest.removeprefix("sha256:")
    path = made.folder / "blobs" / name[:2] / name[2:]
    data = path.read_bytes()
    path.unlink()
    try:
        code, out, err = replay(made, NAME)
    finally:
        path.write_bytes(data)
    assert code == 1
    assert "1 results recomputed: the weights of version 2 are not to be had" in out
    assert "not everything" in err


@pytest.mark.parametrize("what", ["other bytes", "shorter", "no end", "a pipe", "a folder"])
def test_a_blob_that_is_another_thing_than_its_name_says_is_one_fault_and_no_wait(
    made: ExactRun, replay, what: str
) -> None:
    answered = made.statements[f"{NAME}.4"][1]
    assert isinstance(answered, WorkAnswered)
    name = answered.answer.result.digest.removeprefix("sha256:")
    path = made.folder / "blobs" / name[:2] / name[2:]
    data = path.read_bytes()
    path.unlink()
    match what:
        case "no end":
            path.symlink_to("/dev/zero")
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case _:
            path.write_bytes(data[:-1] if what == "shorter" else bytes(1) + data[1:])
    try:
        code, out, err = replay(made, f"{NAME}.4")
    finally:
        path.rmdir() if what == "a folder" else path.unlink()
        path.write_bytes(data)
    assert (code, err.count("\n")) == (1, 1)
    assert ("not checked" if what == "a folder" else "other bytes than its name") in out


def verified(story: RunStory, folder: Path, replay: int) -> Findings:
    findings = Findings(lambda where: None, withdrawn=story.taken_out)
    asked = Asked(
        rewards=False, updates=0, evaluations=0, secret=None, known_recipes=(), scratch=folder,
        replay=replay,
    )  # fmt: skip
    verify_run(story, FolderBlobs(folder / "blobs"), findings, asked)
    return findings


def test_a_verification_recomputes_rollouts_where_asked(made: ExactRun) -> None:
    what = "rollouts whose tokens and log-probabilities were recomputed: equal"
    for replay, rollouts, words in (
        (0, 0, "not asked (--replay)"),
        (2, 2 * ROLLOUTS, "asked of 2 of 3 results"),
        (ALL, VERSIONS * ROLLOUTS, None),
    ):
        found = verified(made.story(), made.folder, replay)
        assert found.checked[what] == rollouts
        told = [line for line in found.not_checked() if "tokens were sampled" in line]
        assert told == ([] if words is None else told[:1])
        assert words is None or words in told[0]
    lying = verified(spoilt(made, f"{NAME}.6", lower).story(), made.folder, ALL)
    assert any(fault.startswith(f"{NAME}.6: group") for fault in lying.faults)
