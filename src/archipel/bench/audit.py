"""What audits cost beside the work that they look at, and how long a verdict takes.

Parts: `Plan`, `ratios` (seconds to recompute one result over seconds to sample it, by length), `share` (how much
of an honest node's work is looked at, by the lab's own rule), `latencies` (a real lab, update process and nodes).
What it does not show: other machines than this one; a lease whose rollouts end early, where both sides have less
to do; a fleet whose nodes are busy, where a verdict also waits for an auditor that is free.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from archipel.bench.exact_subjects import Subject, engine_of, requests_of, subject_named
from archipel.bench.reckoning import KNOWN, Rules
from archipel.bench.site import Site
from archipel.engine.exact.replay import Recorded, Replayer
from archipel.engine.exact.scoring import arithmetic_named
from archipel.lab.apply import apply
from archipel.lab.audits import audits
from archipel.lab.cases import Case, Outcome
from archipel.lab.reputation import Standing
from archipel.lab.risk import chance
from archipel.lab.state import LabState
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.audits import looked_at
from archipel.records.recipe import Recipe
from archipel.records.recipe_audit import AuditSection

Tell = Callable[[str], None]
VARIANT = "w7a8"
GROUP = 8
PROMPT = 16
_SPARE = 64
"""Positions beyond prompt and completion."""
SECRET = b"audits"
LIMIT_S = 900.0
NODES = 3


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    models: tuple[str, ...] = ("demo", "30m")
    lengths: tuple[int, ...] = (32, 128, 512, 1024)
    groups: int = 4
    """Of one lease; each of 8 rollouts."""
    rounds: int = 3
    versions: int = 8
    """Of the run whose verdicts are timed."""


QUICK = Plan(models=("demo",), lengths=(32, 128), rounds=2, versions=4)


def ratios(name: str, plan: Plan, part: float, tell: Tell) -> Iterator[dict[str, Any]]:
    """Of one model, for each length: seconds to sample a lease and to recompute this part of it, as an audit would: the
    best of `rounds`, taking turns.
    """
    longest = max(plan.lengths) + PROMPT + _SPARE
    subject = _with_positions(subject_named(name), longest)
    engine = engine_of(subject, VARIANT)
    began = time.perf_counter()
    replayer = Replayer(arithmetic_named(VARIANT, subject.config))
    replayer.load(subject.state)
    load_s = time.perf_counter() - began
    for length in plan.lengths:
        requests = requests_of(subject, plan.groups, length, GROUP, PROMPT)
        sampling, auditing = [], []
        for number in range(plan.rounds):
            began = time.perf_counter()
            groups = engine.generate(requests)
            sampled = time.perf_counter()
            recorded = [
                Recorded(request, {n: group[n] for n in _part_of(number, place, part)})
                for place, (request, group) in enumerate(zip(requests, groups, strict=True))
            ]
            found = replayer.replay(recorded)
            auditing.append(time.perf_counter() - sampled)
            sampling.append(sampled - began)
            if found.difference is not None:
                raise ValueError(f"an honest result differs: {found.difference}")
            tell(f"{name}, {length} tokens: round {number + 1} of {plan.rounds}")
        pairs = [a / s for a, s in zip(auditing, sampling, strict=True)]
        yield {
            "model": name,
            "variant": VARIANT,
            "tokens": length,
            "rollouts": plan.groups * GROUP,
            "recomputed": plan.groups * len(_part_of(0, 0, part)),
            "sampling_s": min(sampling),
            "auditing_s": min(auditing),
            "load_s": load_s,
            "ratio": statistics.median(pairs),
            "low": min(pairs),
            "high": max(pairs),
        }


def _with_positions(subject: Subject, positions: int) -> Subject:
    """With room for the longest completion; rotary positions need no weights."""
    most = max(positions, subject.config.max_position_embeddings)
    return replace(subject, config=replace(subject.config, max_position_embeddings=most))


def _part_of(number: int, place: int, part: float) -> tuple[int, ...]:
    """The rollouts of one group that an audit draws, in one round."""
    root, record = f"sha256:{number:064x}", "sha256:" + "0" * 64
    return looked_at(root, record, place, GROUP, round(part * 1000))


def share(rules: Rules, answers: int, trials: int = 100) -> float:
    """Audits over answers of an honest newcomer among its first `answers`: the mean of so many, by the lab's own rule
    and their own chance; each audit is over before the next answer.
    """
    draw, total = random.Random(0), 0  # noqa: S311  a simulation
    for _ in range(trials):
        known = Standing()
        for answer in range(1, answers + 1):
            known = replace(known, exposed_micro=known.exposed_micro + rules.price_micro)
            staked = rules.staked(answer)
            rate = chance(rules.floor_micro, known, rules.price_micro, staked, is_audit=False)
            if draw.random() * 1e6 < rate:
                total += 1
                known = replace(known, verified=known.verified + 1, exposed_micro=0)
    return total / trials / answers


def looks(floor_micro: int, confirmed: int = 0) -> float:
    """How many look at an answer that is right and drawn: an auditor's "equal" is drawn as well, by what is known of it."""
    return 1 + max(1 / (1 + confirmed), floor_micro / 1e6)


def latencies(recipe: Recipe, folder: Path, plan: Plan, tell: Tell) -> list[dict[str, Any]]:
    """Every verdict of a run of `versions` with three honest nodes: what it was, and how long after the answer.

    Raises:
        SiteFailed: a process died, or the run took longer than `LIMIT_S`.
    """
    recipe = _exact(recipe, plan.versions)
    with Site(folder, {}) as site:
        site.start_lab()
        if recipe.secret_name is not None:
            site.keep_secret("update", recipe.secret_name, SECRET)
        site.start_update()
        for number in range(NODES):
            site.start_node(f"node-{number}")
        site.open_run(recipe, _start(folder / "start", recipe), ["update"])
        name, last = recipe.run.name, -1

        def is_over() -> bool:
            nonlocal last
            shown = site.run(name)
            if shown is not None and shown.version > last:
                last = shown.version
                tell(f"version {last} of {plan.versions}")
            counts = {} if shown is None else shown.progress["audits"]
            return last == plan.versions and counts["open"] == 0 == counts["waiting"]

        site.wait_until(is_over, "the last verdict", LIMIT_S)
        return list(_verdicts(site, name))


def _exact(recipe: Recipe, versions: int) -> Recipe:
    run = recipe.run.model_copy(update={"versions": versions})
    sampling = recipe.sampling.stated(VARIANT)
    return recipe.model_copy(update={"run": run, "sampling": sampling})


def _start(folder: Path, recipe: Recipe) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(recipe.model, tokenizer)
    write_model(folder, random_weights(config, 0), config, tokenizer)
    return folder


def _verdicts(site: Site, name: str) -> Iterator[dict[str, Any]]:
    state, seen = None, set[tuple[str, int]]()
    for at_ms, statement in site.history():
        state = apply(state or LabState(lab=statement.lab), statement, at_ms)
        run = state.runs.get(name)
        for case in () if run is None else audits(run).closed[-8:]:
            if case.verdict is not None and (case.work, case.verdict.at_ms) not in seen:
                seen.add((case.work, case.verdict.at_ms))
                yield _timed(case, case.verdict.outcome, case.verdict.at_ms)


def _timed(case: Case, outcome: Outcome, at_ms: int) -> dict[str, Any]:
    return {
        "work": case.work,
        "outcome": outcome.value,
        "opinions": len(case.opinions),
        "seconds": (at_ms - case.answer.at_ms) / 1000,
    }


def result(
    rows: list[dict[str, Any]], verdicts: list[dict[str, Any]], terms: AuditSection
) -> dict[str, Any]:
    """Everything in one document; second looks are by auditors that are known."""
    floor, rules = terms.floor, Rules(round(terms.floor * 1e6), stake=terms.stake)
    shares = {str(count): share(rules, count, 20_000 // count) for count in (100, 1000, 10_000)}
    each_looked_at = looks(rules.floor_micro, KNOWN)
    worst = max((row["ratio"] for row in rows), default=0.0)
    seconds = sorted(each["seconds"] for each in verdicts)
    return {
        "threads": torch.get_num_threads(),
        "rows": rows,
        "floor": floor,
        "stake": terms.stake,
        "part": terms.part,
        "share_of_answers": shares,
        "looks_per_audit": each_looked_at,
        "cost_of_generation": {n: each * worst * each_looked_at for n, each in shares.items()},
        "verdicts": len(seconds),
        "outcomes": sorted({each["outcome"] for each in verdicts}),
        "verdict_s": {
            "median": statistics.median(seconds) if seconds else None,
            "largest": seconds[-1] if seconds else None,
        },
    }


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = ["model   tokens  rollouts  sampling   auditing   audit / sampling"]
    for row in found["rows"]:
        lines.append(
            f"{row['model']:6} {row['tokens']:7} {row['rollouts']:9} {row['sampling_s']:8.2f} s "
            f"{row['auditing_s']:8.2f} s  {row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        )
    for count, part in found["share_of_answers"].items():
        cost = found["cost_of_generation"][count]
        lines.append(
            f"floor {found['floor']:.0%}, stake {found['stake']}, a {found['part']:.0%} part: of an honest node's first "
            f"{count} answers {part:.1%} are audited; at the largest ratio above, second looks included, that is "
            f"{cost:.2%} of generation"
        )
    if found["verdicts"]:
        took = found["verdict_s"]
        lines.append(
            f"{found['verdicts']} verdicts of a real lab ({', '.join(found['outcomes'])}): median {took['median']:.1f} s "
            f"after the answer, largest {took['largest']:.1f} s"
        )
    return "\n".join(lines)
