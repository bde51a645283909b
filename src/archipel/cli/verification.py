"""What `archipel run verify` does, step by step: the rules, weights, prompts, results, and what is recomputed."""

from archipel.cli.doors import Mendable
from archipel.cli.exams import check_reports
from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.recomputing import Asked, Recomputing
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import RunStory
from archipel.plurals import counted
from archipel.records.payload import BadPayload
from archipel.records.rollouts import unpack_prompts

MAX_CHECKPOINTS_NAMED = 8


def verify_run(story: RunStory, blobs: Blobs, findings: Findings, asked: Asked) -> None:
    """1 the rules  2 the opening's files  3 weights  4 prompts, results, reports  5 what is recomputed, as asked.

    Raises:
        Mendable: there is no such run, or a lab that does not answer.
        ValueError: it follows another programme.
    """
    if story.opened is None:
        raise Mendable(f"this ledger opens no run {story.name!r:.80}")
    findings.limits.append(
        "that tokens were sampled from the weights that they name: this takes audits"
    )
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
    _weights(story, blobs, findings)
    # 4
    _prompts(story, blobs, findings)
    _results(story, blobs, findings)
    check_reports(story, blobs, findings)
    _say_checkpoints(story, findings)
    # 5
    Recomputing(story, story.opened, blobs, findings, asked).run()


def _weights(story: RunStory, blobs: Blobs, findings: Findings) -> None:
    from archipel.work.verifying import ChainCheck, ChainFault

    chain = ChainCheck()
    for number, update in enumerate(story.updates):
        findings.progress(f"weights of version {number} of {len(story.updates) - 1}")
        with findings.looking("versions' weights", f"version {number}", ChainFault):
            ways = chain.step(update.published, update.answer.parent, blobs.read)
            for way in ways:
                findings.checked[f"versions from their {way}"] += 1
            if not ways:
                raise NotKept("there is no anchor, and the version before is not to be had")


def _prompts(story: RunStory, blobs: Blobs, findings: Findings) -> None:
    for update in story.updates:
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
    for number, (work, each) in enumerate(story.results.items()):
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
