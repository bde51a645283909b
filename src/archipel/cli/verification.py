"""What `archipel run verify` does, step by step: the rules, weights, prompts, results, and what is recomputed."""

from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable
from archipel.cli.exams import check_reports
from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.playing_again import check_episodes
from archipel.cli.recomputing import ALL, Asked, Recomputing
from archipel.cli.run_blobs import Blobs
from archipel.cli.run_weights import each_version
from archipel.lab.run_story import RunStory
from archipel.plurals import counted
from archipel.records.payload import BadPayload
from archipel.records.prompts import unpack_prompts

if TYPE_CHECKING:
    from archipel.cli.replaying import RunReplay

MAX_CHECKPOINTS_NAMED = 8


def verify_run(story: RunStory, blobs: Blobs, findings: Findings, asked: Asked) -> None:
    """1 the rules  2 the opening's files  3 weights  4 prompts, results, reports  5 what is recomputed, as asked.

    Raises:
        Mendable: there is no such run, or a lab that does not answer.
        ValueError: it follows another programme.
    """
    if story.opened is None:
        raise Mendable(f"this ledger opens no run {story.name!r:.80}")
    replay = _replay(story, blobs, findings, asked.replay)
    findings.limits.append(
        "that the lab shows everybody this ledger: compare its head with others'"
    )
    if story.others:
        findings.limits.append(
            f"{counted(story.others, 'answer')} of other kinds of work: not known"
        )
    # 1
    findings.faults += story.faults()
    findings.checked["versions and their inputs by the run's own rules"] = len(story.updates)
    # 2
    for blob in (story.opened.recipe, *(file.blob for file in story.opened.model)):
        with findings.looking("files of the opening", blob.digest):
            blobs.path(blob)
            findings.checked["files of the opening"] += 1
    # 3
    for number, policy in each_version(story, blobs, findings, 0, len(story.updates) - 1):
        if replay is not None:
            replay.at(number, policy)
    # 4
    _prompts(story, blobs, findings)
    _results(story, blobs, findings)
    check_episodes(story, story.opened, blobs, findings)
    check_reports(story, blobs, findings)
    _say_checkpoints(story, findings)
    # 5
    Recomputing(story, story.opened, blobs, findings, asked).run()


def _replay(story: RunStory, blobs: Blobs, findings: Findings, num: int) -> "RunReplay | None":
    """Whether tokens were sampled from the weights that they name: what can be shown of it, and what not."""
    claim = "that tokens were sampled from the weights that they name"
    if story.pace.exact is None:
        findings.limits.append(f"{claim}: this takes audits")
        return None
    if not num:
        findings.limits.append(f"{claim}: not asked (--replay)")
        return None
    from archipel.cli.replaying import RunReplay, sampled_works

    standing = story.standing
    works = list(standing) if num == ALL else sampled_works(standing, num, 0)
    if len(works) < len(standing):
        findings.limits.append(f"{claim}: asked of {len(works)} of {len(standing)} results")
    with findings.looking("results recomputed", "the run's opening"):
        return RunReplay(story, blobs, findings, works)
    return None


def _prompts(story: RunStory, blobs: Blobs, findings: Findings) -> None:
    refills = [each for asked in story.refills.values() for each in asked]
    for update in (*story.updates, *refills):
        for each in update.answer.prompts:
            name = f"prompts of batch {each.batch}"
            with findings.looking("batches of prompts", name, BadPayload):
                _check_prompts(story, each.batch, blobs.read(each.blob))
                findings.checked["batches of prompts"] += 1


def _check_prompts(story: RunStory, number: int, data: bytes) -> None:
    pace = story.pace
    batch, prompts = unpack_prompts(data)
    if (batch, len(prompts)) != (number, pace.groups_per_update):
        raise BadPayload(
            f"{len(prompts)} prompts of batch {batch}; expected {pace.groups_per_update} of {number}"
        )
    if any(not 0 <= token < pace.vocab_size for prompt in prompts for token in prompt):
        raise BadPayload("a token is not in the vocabulary")


def _results(story: RunStory, blobs: Blobs, findings: Findings) -> None:
    for number, (work, each) in enumerate(story.standing.items()):
        findings.progress(f"result {number} of {len(story.results)}")
        with findings.looking("results", work, BadPayload):
            rollouts_of(story, blobs, each)
            findings.checked["results"] += 1


def _say_checkpoints(story: RunStory, findings: Findings) -> None:
    """The learner's own memory takes no part in what a version is."""
    saved = [number for number, update in enumerate(story.updates) if update.answer.memory]
    if not saved:
        return
    named = ", ".join(map(str, saved[-MAX_CHECKPOINTS_NAMED:]))
    before = ", the newest" if len(saved) > MAX_CHECKPOINTS_NAMED else ""
    findings.limits.append(
        f"the learner's checkpoints of {len(saved)} versions ({named}{before}): nobody looked into them"
    )
