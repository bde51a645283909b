"""What nodes and the trusted role say that they sampled, sampled again: rollouts of exact runs, and evaluations."""

from collections.abc import Iterator, Sequence

from archipel.cli.exams import examine
from archipel.cli.rebuilding import Before, Ended, Rebuilding
from archipel.cli.recomputing import only_here
from archipel.cli.run_blobs import NotKept
from archipel.cli.run_weights import each_version, nearest_anchor
from archipel.release.stages import Stage


def sampled_again(rebuilding: Rebuilding, stages: Sequence[Stage]) -> Iterator[Ended]:
    """Tokens and log-probabilities of an exact run, computed again from the weights that they name."""
    from archipel.cli.replaying import RunReplay

    story, blobs, found = rebuilding.subject.story, rebuilding.subject.blobs, rebuilding.findings()
    if story.pace.exact is None:
        raise NotKept(
            "the run is sampled in floating point, so that no other machine gives the same bits; audits look at such "
            "results"
        )
    replay = RunReplay(story, blobs, found, [work for each in stages for work in each.works])
    wanted = {each.version: each for each in stages}
    first = nearest_anchor(story, min(wanted))
    before = Before(found)
    for version, policy in each_version(story, blobs, found, first, max(wanted)):
        replay.at(version, policy)
        if version in wanted:
            yield before.came()


def examined_again(rebuilding: Rebuilding, stages: Sequence[Stage]) -> Iterator[Ended]:
    """Scores computed again from the weights and the held-out tasks."""
    from archipel.work.reexamining import Reexamining
    from archipel.work.verifying import NOT_HERE

    story, found, recipe = rebuilding.subject.story, rebuilding.findings(), rebuilding.recipe
    model = rebuilding.model(weights=story.pace.adapter is not None)
    exams = {exam.answer.version: exam for exam in story.exams}
    with only_here(NOT_HERE):
        reexamining = Reexamining(recipe, rebuilding.subject.secret, model)
    with reexamining:
        for stage in stages:
            before, exam = Before(found), exams[stage.version]
            examine(story, rebuilding.subject.blobs, found, exam, reexamining)
            how, why = before.came()
            if how == "differs" and exam.answer.exact is None:
                how = "not shown"
                why = f"sampled in floating point, which another machine may do otherwise: {why}"
            yield how, why
