"""What the demo says at the end: numbers with intervals, controls beside the result, what they do not show."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from archipel.demo.aftermath import orphans_of, overtaken_by, was_answered, weight_traffic
from archipel.demo.bill_words import tell_bill
from archipel.demo.caught import Found, found_words
from archipel.demo.control import Control
from archipel.demo.plan import CAST, DOOMED, SLY
from archipel.demo.story import Performance
from archipel.plurals import counted
from archipel.records.recipe import Recipe
from archipel.training.evaluation import Estimate
from archipel.work.judging import Judgement, Trial, judge, sample_answers

OTHER_SECRET = b"another secret, which nothing was trained on"
ANSWER = ("prompt", "answer", "reward")
Tell = Callable[[str], None]


def judge_all(show: Performance, control: Control, tell: Tell) -> dict[str, Judgement]:
    """Arm -> judgement on the untouched test split."""
    plan = show.plan
    recipe = show.recipe.by_variant(None)  # in floating point, as whoever runs the model will
    full = Trial(plan.num_test_tasks, plan.num_sampled_tasks, plan.samples_per_task)
    plain = Trial(plan.num_test_tasks)
    tell("judging on the test split, which nothing has looked at so far")
    arms = {
        "before RL": judge(show.start, recipe, show.secret, full),
        "after RL": judge(show.trained, recipe, show.secret, full),
        "after RL, judged by another secret": judge(show.trained, recipe, OTHER_SECRET, plain),
    }
    if plan.controls:
        longer = control.finished(tell)
        arms["more supervised training instead"] = judge(longer, recipe, show.secret, full)
    return arms


def report(show: Performance, arms: dict[str, Judgement]) -> dict[str, Any]:
    """Everything the ending says, for machines."""
    traffic, run = weight_traffic(show.history), show.ended
    samples = sample_answers(show.trained, show.recipe.by_variant(None), show.secret, 4)
    return {
        "seed": show.plan.seed,
        "test": {name: figures(judgement) for name, judgement in arms.items()},
        "supervised_s": show.supervised_s,
        "learning_s": show.learning_s,
        "nodes": {name: view.model_dump(mode="json") for name, view in show.nodes.items()},
        "weights": asdict(traffic),
        "staleness": run.progress["staleness"],
        "learner_utilisation": run.learner_utilisation,
        "rewards": run.rewards,
        "evaluations": run.evaluations,
        "killed_node": [asdict(o) for o in orphans_of(show.dids[DOOMED], show.history)],
        "cheating_node": None if show.cheat is None else asdict(show.cheat),
        "audits": None if show.audited is None else asdict(show.audited),
        "bill": None if show.bill is None else show.bill.report(show.names),
        "answers": [dict(zip(ANSWER, sample, strict=True)) for sample in samples],
        "model": str(show.trained),
        "curve": str(show.plan.folder / "curve.png"),
    }


def tell_ending(
    show: Performance, arms: dict[str, Judgement], result: dict[str, Any], tell: Tell
) -> None:
    """The closing words, for people."""
    _tell_accuracy(show, arms, tell)
    _tell_nodes(show, tell)
    _tell_killed(show, tell)
    tell_cheat(show, tell)
    tell_bill(show.bill, show.dids, show.nodes, tell)
    traffic, run = weight_traffic(show.history), show.ended
    share = traffic.mean_delta_bytes / max(traffic.full_bytes, 1)
    tell(f"weights   {traffic.full_bytes} bytes whole (bf16); mean delta {traffic.mean_delta_bytes:.0f} "
         f"({share:.1%}); {traffic.anchors} anchors of {traffic.mean_anchor_bytes:.0f}; "
         f"rollouts in: {run.progress['rollout_bytes']} bytes")  # fmt: skip
    staleness = run.progress["staleness"]
    total = sum(staleness.values())
    shares = "  ".join(
        f"{age}: {'#' * round(30 * count / total)} {count}" for age, count in staleness.items()
    )
    tell(f"staleness {shares}   (bound {show.recipe.run.max_staleness})")
    tell(f"learner   busy {run.learner_utilisation:.0%} of the time; "
         f"RL took {show.learning_s:.1f} s, the supervised stage {show.supervised_s:.1f} s")  # fmt: skip
    answers = result["answers"]
    tell("answers   " + "   ".join(
        f"{each['prompt']}{each['answer']} ({'right' if each['reward'] >= 1 else format(each['reward'], '.2f')})"
        for each in answers
    ))  # fmt: skip
    tell(f"curve     {result['curve']}")
    tell(
        f"model     {show.trained}   talk to it: archipel chat {show.trained} --prompt {answers[0]['prompt']}"
    )


def _tell_accuracy(show: Performance, arms: dict[str, Judgement], tell: Tell) -> None:
    tell("")
    tell(f"held-out test split, {show.plan.num_test_tasks} tasks, 95% intervals")
    k = show.plan.samples_per_task
    for name, judgement in arms.items():
        sampled = ""
        if judgement.sampled is not None:
            at = judgement.sampled.pass_at
            sampled = f"   pass@1 {at[1].value:.3f}   pass@{k} {interval(at[k])}"
        tell(f"  {name:36} greedy {interval(judgement.greedy.greedy)}{sampled}")
    guess = 1 - (1 - 1 / math.factorial(_length(show.recipe))) ** k
    tell(
        "  RL added the secret order: supervised data was independent of it, so before RL, and after"
    )
    tell(
        f"  more of that data, {k} tries find it as often as blind guessing would ({guess:.3f} at most)."
    )
    tell("  Not shown: that RL beats labels (with true labels, supervision learns this too).")
    tell("")


def _length(recipe: Recipe) -> int:
    """Letters per task: so many can be put into length! orders."""
    return int(recipe.environment.parameters.get("length", 6))


def _tell_nodes(show: Performance, tell: Tell) -> None:
    for name, view in show.nodes.items():
        tell(f"node      {name:7} {view.groups:5} groups {view.tokens:7} tokens "
             f"{view.credit_micro / 1e6:.3f} credits   {CAST[name]}")  # fmt: skip


def _tell_killed(show: Performance, tell: Tell) -> None:
    names = {did: name for name, did in show.dids.items()}
    work, orphans = show.interrupted, orphans_of(show.dids[DOOMED], show.history)
    if work is not None and work not in {orphan.work for orphan in orphans}:
        other = overtaken_by(work, show.history)
        if was_answered(work, show.history):
            what = "its answer had arrived just before the kill"
        elif other is not None:
            what = f"{names.get(other, other[-8:])} had a second copy of it and answered first"
        else:
            what = "it was still on lease when the ledger was read"
        tell(f"killed    {work}: {what}; nothing lost, nothing paid twice")
    for orphan in orphans:
        who = ", ".join(names.get(did, did[-8:]) for did in orphan.redone_by)
        after = (
            "not yet redone"
            if orphan.redone_s is None
            else f"redone by {who} within {orphan.redone_s:.1f} s"
        )
        tell(f"killed    {orphan.work}: {counted(len(orphan.groups), 'group')}, taken back after "
             f"{orphan.silent_s:.1f} s of silence, {after}; nothing lost, nothing paid twice")  # fmt: skip


def tell_cheat(show: Performance, tell: Tell) -> None:
    """Whether it was caught, after how much work, and what it had of it; and what else was audited."""
    cheat, audited = show.cheat, show.audited
    if cheat is None or audited is None:
        return
    if cheat.found is None:
        forged = sum(unit.is_forged for unit in cheat.units)
        tell(f"cheat     {SLY} was not caught: {counted(len(cheat.units), 'answer')}, {forged} of them forged, "
             f"{cheat.audited} audited; what is not drawn is not looked at")  # fmt: skip
    else:
        tell(f"cheat     {SLY} was caught {found_words(cheat.found, show.names)}")
        _tell_price(show, cheat.found, tell)
    outcomes = ", ".join(f"{count} {what}" for what, count in audited.outcomes.items())
    tell(f"audits    {audited.drawn} of {counted(audited.answers, 'answer')} drawn ({outcomes or 'none ended'}), "
         f"{audited.positions} tokens recomputed in {audited.share_of_sampling:.0%} of the time that sampling took; "
         f"honest nodes accused: {audited.honest_accused}")  # fmt: skip


def _tell_price(show: Performance, found: Found, tell: Tell) -> None:
    kept = found.paid_micro - found.taken_micro
    were = "was" if found.forged == 1 else "were"
    tell(f"          {found.forged} of these {found.units} {were} forged ({show.plan.cheat}); the verdict came "
         f"{found.after_s:.1f} s after number {found.number}, from which {_learned(found.touched)} had learned")  # fmt: skip
    tell(f"          it keeps {kept / 1e6:.3f} of {found.paid_micro / 1e6:.3f} credits for these; at that pace it would have had "
         f"about {found.would_have_micro / 1e6:.3f} by the end")  # fmt: skip
    by = ", ".join(show.names.get(did, did[-8:]) for did in found.again_by) or "nobody yet"
    tell(f"          {counted(found.groups_again, 'group')} of its answers from which nothing had learned: sampled again "
         f"by {by}")  # fmt: skip


def _learned(versions: tuple[int, ...]) -> str:
    if not versions:
        return "no version"
    return f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"


def figures(judgement: Judgement) -> dict[str, Any]:
    """A judgement for machines."""
    figures: dict[str, Any] = {"greedy": asdict(judgement.greedy.greedy)}
    if judgement.sampled is not None:
        pass_at = judgement.sampled.pass_at
        figures |= {f"pass_at_{k}": asdict(estimate) for k, estimate in pass_at.items()}
    return figures


def interval(estimate: Estimate) -> str:
    """A share with its interval, for people."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
