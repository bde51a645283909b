"""What the demo with a real model says at the end: before and after with intervals, controls, both models' words."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from archipel.bench import real_central
from archipel.bench.peers_job import Job, run_job
from archipel.bench.real_tasks import shots
from archipel.demo.aftermath import weight_traffic
from archipel.demo.ending import figures, interval
from archipel.demo.plan import REAL_CAST
from archipel.demo.real_story import GIGABYTE, RealPerformance
from archipel.model.adapter import Adapter, merged
from archipel.model.directory import read_config, write_model
from archipel.model.tokenizer import Tokenizer
from archipel.work.conversation import Conversation
from archipel.work.judging import Judgement, Trial, judge

Tell = Callable[[str], None]
BEFORE, SHOWN, LONGER, AFTER, CHANCE = (
    "before",
    "before, shown three examples",
    "before, given 96 tokens",
    "after RL",
    "RL with rewards by chance",
)
ANSWER_TOKENS, LONG_TOKENS = 48, 96
TEMPLATE_FILE = "chat_template.jinja"


def judge_real(show: RealPerformance, python: Path, environment: Mapping[str, str], tell: Tell) -> dict[str, Judgement]:  # fmt: skip
    """Arm -> judgement on the untouched test split."""
    plan, recipe = show.plan, show.recipe
    full = Trial(plan.num_test_tasks, plan.num_sampled_tasks, plan.samples_per_task)
    plain = Trial(plan.num_test_tasks)
    tell(f"judging on {plan.num_test_tasks} held-out tasks, which nothing has looked at so far")
    arms = {}
    room = recipe.sampling.model_copy(update={"max_new_tokens": LONG_TOKENS})
    longer = recipe.model_copy(update={"sampling": room})
    for name, model, by, trial in (
        (BEFORE, show.start, recipe, full),
        (SHOWN, shown_examples(show), recipe, plain),
        (LONGER, show.start, longer, plain),
        (AFTER, show.trained, recipe, full),
    ):
        arms[name] = judge(model, by, None, trial)
        tell(f"  {name}: {_scores(arms[name])}")
    if plan.control_updates:
        chance = by_chance(show, python, environment, tell)
        arms[CHANCE] = judge(chance, recipe, None, plain)
        tell(f"  {CHANCE}: {_scores(arms[CHANCE])}")
    return arms


def shown_examples(show: RealPerformance) -> Path:
    """The start with a chat template that shows three examples before every question: the form alone."""
    out = show.plan.folder / "shown"
    if out.exists():
        return out
    aside = out.with_name(".shown.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for file in show.start.iterdir():
        (aside / file.name).symlink_to(file.resolve())
    tokenizer = Tokenizer.from_directory(show.start)
    (aside / TEMPLATE_FILE).unlink(missing_ok=True)
    turns = json.dumps(shots(show.task))
    (aside / TEMPLATE_FILE).write_text(
        "{%- set messages = " + turns + " + messages -%}" + (tokenizer.chat_template or "")
    )
    aside.replace(out)
    return out


def by_chance(
    show: RealPerformance, python: Path, environment: Mapping[str, str], tell: Tell
) -> Path:
    """The control: the same start, recipe and updates, and rewards that say nothing."""
    out, updates = show.plan.folder / "by-chance", show.plan.control_updates
    if out.exists():
        return out
    tell(f"control: {updates} updates with rewards by chance")
    run = show.recipe.run.model_copy(update={"versions": updates})
    job = Job(
        recipe=show.recipe.model_copy(update={"run": run}).canonical_bytes().decode(),
        secret="",
        start=str(show.start),
        out=str(_unused(show.plan.folder / "control")),
        updates=updates,
        snapshot_every=0,
        threads=show.plan.threads,
        variant=real_central.DRAWN,
    )
    run_job(python, real_central.__name__, job, environment)
    weights = load_file(job.snapshot(updates))
    if show.recipe.adapter is not None:
        adapter = Adapter(show.recipe.adapter.form, weights)
        weights = merged(real_central.weights(show.start), adapter, read_config(show.start))
    write_model(out, weights, read_config(show.start), Tokenizer.from_directory(show.start))
    return out


def _unused(folder: Path) -> Path:
    """A job's folder must be new: one that was cut short is left as it is."""
    number = 0
    while (place := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return place


def talk(show: RealPerformance, count: int = 4) -> list[dict[str, str]]:
    """Questions of the task and another, with the answers of both models."""
    pairs = list(show.task.pairs())
    asked = [show.task.question(*pairs[(index * 997 + 411) % len(pairs)]) for index in range(count)]
    asked.append("What is the capital of France?")
    said: dict[str, list[str]] = {}
    for name, model in (("before", show.start), ("after", show.trained)):
        conversation, said[name] = Conversation(model, ANSWER_TOKENS, 0.0, 0), []
        for each in asked:
            conversation.forget()
            said[name].append(conversation.answer(each))
    return [
        {"asked": question, "before": before, "after": after}
        for question, before, after in zip(asked, said["before"], said["after"], strict=True)
    ]


def report_real(
    show: RealPerformance, arms: Mapping[str, Judgement], said: list[dict[str, str]]
) -> dict[str, Any]:
    """Everything the ending says, for machines."""
    run = show.ended
    return {
        "seed": show.plan.seed,
        "task": show.plan.task,
        "test": {name: figures(judgement) for name, judgement in arms.items()},
        "learning_s": (run.published_at_ms[-1] - run.opened_at_ms) / 1000,
        "nodes": {name: view.model_dump(mode="json") for name, view in show.nodes.items()},
        "weights": asdict(weight_traffic(show.history)),
        "staleness": run.progress["staleness"],
        "learner_utilisation": run.learner_utilisation,
        "rewards": run.rewards,
        "evaluations": run.evaluations,
        "memory_bytes": show.memory,
        "talk": said,
        "model": str(show.trained),
        "curve": str(show.plan.folder / "curve.png"),
    }


def tell_real_ending(show: RealPerformance, arms: Mapping[str, Judgement], result: dict[str, Any], tell: Tell) -> None:  # fmt: skip
    """The closing words, for people."""
    tell("")
    tell(f"held-out {show.plan.task}, {show.plan.num_test_tasks} tasks, 95% intervals")
    for name, judgement in arms.items():
        tell(f"  {name:30} {_scores(judgement)}")
    tell(
        "  What lies above the shown examples is skill, not form. Not shown: that RL beats labels."
    )
    tell("")
    for name, view in show.nodes.items():
        tell(
            f"node      {name:7} {view.groups:5} groups {view.tokens:7} tokens   {REAL_CAST[name]}"
        )
    traffic = weight_traffic(show.history)
    share = traffic.mean_delta_bytes / max(traffic.full_bytes, 1)
    tell(f"weights   {traffic.full_bytes / 1e6:.0f} MB whole (bf16); mean delta "
         f"{traffic.mean_delta_bytes / 1e6:.1f} MB ({share:.1%})")  # fmt: skip
    for process, rows in show.memory.items():
        first, last, most = rows[0][1], rows[-1][1], max(size for _, size in rows)
        tell(f"memory    {process:7} {first / GIGABYTE:.1f} GB at first, {last / GIGABYTE:.1f} at the "
             f"end, at most {most / GIGABYTE:.1f}")  # fmt: skip
    tell(f"learner   busy {show.ended.learner_utilisation:.0%} of {result['learning_s']:.0f} s")
    for row in result["talk"]:
        tell(f"asked     {row['asked']}")
        tell(f"  before  {json.dumps(row['before'], ensure_ascii=False)}")
        tell(f"  after   {json.dumps(row['after'], ensure_ascii=False)}")
    tell(f"curve     {result['curve']}")
    tell(f"model     {show.trained}   talk to it: archipel chat {show.trained}")


def _scores(judgement: Judgement) -> str:
    text = f"greedy {interval(judgement.greedy.greedy)}"
    if judgement.sampled is None:
        return text
    at = judgement.sampled.pass_at
    k = max(at)
    return f"{text}   pass@1 {at[1].value:.3f}   pass@{k} {interval(at[k])}"
