"""What `archipel run verify` does with a run's evaluations: their reports read, the newest made again."""

import json
from typing import TYPE_CHECKING

from archipel.cli.findings import Findings
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import Exam, RunStory
from archipel.records.payload import BadPayload

if TYPE_CHECKING:
    from archipel.work.policies import Policy
    from archipel.work.reexamining import Reexamining

WHAT = "evaluations made again"
MAX_DIFFERENCES = 4

SINCE = frozenset({"distinct_answers", "commonest_answer_micro", "constant_reward_micro"})
"""Measurements that evaluations did not always have."""


def check_reports(story: RunStory, blobs: Blobs, findings: Findings) -> None:
    """Each says what its record says."""
    for exam in story.exams:
        name = f"report on version {exam.answer.version}"
        with findings.looking("reports of evaluations", name, BadPayload):
            _check_report(exam, blobs.read(exam.answer.report))
            findings.checked["reports of evaluations"] += 1


def _check_report(exam: Exam, data: bytes) -> None:
    try:
        report = json.loads(data)
        told = (report["version"], report["metrics"], report.get("exact"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadPayload("it cannot be read as a report") from None
    if told != (exam.answer.version, dict(exam.answer.metrics), exam.answer.exact):
        raise BadPayload("it says something else than its record")


def examine_again(
    story: RunStory, blobs: Blobs, findings: Findings, most: int, reexamining: "Reexamining"
) -> None:
    """The newest `most` evaluations (negative: all), from the versions' weights."""
    newest_first = sorted(story.exams, key=lambda exam: -exam.answer.version)
    chosen = newest_first if most < 0 else newest_first[:most]
    if older := len(newest_first) - len(chosen):
        findings.missing["evaluations", "not asked (--evaluations all)"] += older
    for exam in chosen:
        examine(story, blobs, findings, exam, reexamining)


def examine(
    story: RunStory, blobs: Blobs, findings: Findings, exam: Exam, reexamining: "Reexamining"
) -> None:
    """One of them, whose weights are to be had."""
    from archipel.training.environments.apart import TaskProcessLost
    from archipel.training.grading import GraderUnavailable
    from archipel.work.reexamining import NoNumbers
    from archipel.work.verifying import ChainFault

    version = exam.answer.version
    findings.progress(f"evaluation of version {version}")
    faults = (BadPayload, ChainFault, NoNumbers)
    with findings.looking("evaluations", f"evaluation of version {version}", *faults):
        policy, before = weights_of(story, blobs, version), reexamining.faults
        try:
            made = reexamining.metrics(version, policy)
        except (GraderUnavailable, TaskProcessLost) as error:
            raise NotKept(f"cannot be done here: {error}") from None
        told = dict(exam.answer.metrics)
        # Earlier releases measured less; what they left out says nothing against them.
        made = {name: value for name, value in made.items() if name in told or name not in SINCE}
        if made != told and reexamining.faults > before:
            raise NotKept("a grading ran out of time or crashed here")
        if made != told:
            raise BadPayload(_difference(made, told))
        findings.checked[WHAT] += 1


def weights_of(story: RunStory, blobs: Blobs, version: int) -> "Policy":
    """Of a version, from the newest anchor that is not after it."""
    from archipel.work.verifying import ChainCheck

    answers = [update.answer for update in story.updates[: version + 1]]
    anchors = [number for number, answer in enumerate(answers) if answer.anchor is not None]
    chain = ChainCheck(story.pace.adapter)
    for update in story.updates[anchors[-1] if anchors else 0 : version + 1]:
        chain.step(update.published, update.answer.parent, blobs.read)
    if chain.held is None or chain.held.manifest.version != version:
        raise NotKept("its weights are not to be had")
    return chain.held


def _difference(made: dict[str, int], told: dict[str, int]) -> str:
    names = sorted(name for name in made.keys() | told.keys() if made.get(name) != told.get(name))
    shown = ", ".join(
        f"{name} is {made.get(name)} here, {told.get(name)} in the ledger"
        for name in names[:MAX_DIFFERENCES]
    )
    return (
        f"{shown}; another kind of processor, engine or number of threads may round otherwise, and a "
        "wrong secret gives this, too"
    )
