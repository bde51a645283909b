"""How soon each cheat of `bench.cheats` is found in exact mode, and how often an honest node is accused.

Parts: `Plan`, `Court` (one policy with its older versions: real answers, the door's check, real audits),
`detection`, `honest`, `measure` and `result`. An answer is one group; what it comes to in units is `bench.reckoning`.
What it does not show: other models, where weaker nudges may stay unseen longer; waiting for auditors.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.central import prepare
from archipel.bench.cheats import CHEATS, Forger, Groups, State
from archipel.bench.intervals import exact_share
from archipel.bench.kept import Asked, Kept
from archipel.bench.reckoning import KNOWN, Rules, lives, mean_units
from archipel.bench.tasks import Task, Tell, carry_out, rows_of
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.replay import Recorded, Replayer
from archipel.engine.exact.scoring import arithmetic_named
from archipel.model.tokenizer import tokenizer_named
from archipel.records.audits import looked_at
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import RolloutBounds, check_rollouts, pack_rollouts
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request
from archipel.training.report import UpdateReport
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer

SECRET = b"adversaries"
HONEST = "honest"
_WORK, _POLICY = "bench.1", "sha256:" + "0" * 64


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    updates: int = 8
    """Versions that the policy has behind it; cheats use up to 5 of them."""
    answers: int = 64
    """Of each cheat, audited one by one."""
    audits: int = 10_000
    """Of honest answers."""
    variants: tuple[str, ...] = ("w7a8", "w13a15")
    shares: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    trials: int = 200
    """Simulated nodes behind each mean."""
    part: int = 500
    """Honest audits of one kept step."""
    seed: int = 0


QUICK = Plan(updates=6, answers=8, audits=400, variants=("w7a8",), trials=40, part=200)


class Court:
    """A policy trained here by `recipe`, with the weights of every version, and an auditor of its newest."""

    def __init__(self, recipe: Recipe, plan: Plan, tell: Tell) -> None:
        run = recipe.run.model_copy(
            update={"versions": plan.updates, "max_staleness": 0, "seed": plan.seed}
        )
        self._recipe = recipe.model_copy(update={"run": run})
        tell("training the policy: supervised stage")
        bench = prepare(self._recipe, SECRET)
        trainer = Trainer(bench.fresh_model(), self._recipe)
        self._states: list[State] = [_copied(trainer.published_state())]

        def on_update(report: UpdateReport) -> None:
            self._states.append(_copied(trainer.published_state()))

        reinforce(trainer, bench.rehearsal(), on_update)
        tell(f"training the policy: {plan.updates} updates done")
        self._config = bench.fresh_model().config
        self._tokenizer = tokenizer_named(recipe.model.tokenizer)
        self._environment = make_environment(recipe.environment, plan.seed, SECRET)
        self._first = plan.updates * run.groups_per_update

    def sit(self, variant: str) -> None:
        """Take the newest weights by this variant, on both sides."""
        numbers = arithmetic_named(variant, self._config)
        engine = LocalEngine(self._config, arithmetic=numbers)
        engine.load(self._states[-1])
        self.forger = Forger(engine, self._states)
        self._replayer = Replayer(numbers)
        self._replayer.load(self._states[-1])

    def requests(self, first: int, count: int) -> list[Request]:
        """What the run asks of these of its groups."""
        asked = range(self._first + first, self._first + first + count)
        parts = self._recipe, self._environment, self._tokenizer
        return [group_request(*parts, index) for index in asked]

    def refused(self, request: Request, groups: Groups) -> bool:
        """Whether the lab's door refuses the answer at once."""
        bounds = RolloutBounds(
            _WORK, _POLICY, 1, request.num_rollouts, request.max_new_tokens,
            self._config.vocab_size, request.stop_tokens,
        )  # fmt: skip
        try:
            check_rollouts(pack_rollouts(groups, work=_WORK, policy=_POLICY), bounds)
        except BadPayload:
            return True
        return False

    def differs(self, request: Request, groups: Groups) -> str | None:
        """What an audit of the answer finds first, in the part that the recipe has it look at; None: nothing."""
        root, record = (
            f"sha256:{hashlib.sha256(of).hexdigest()}" for of in (b"", request.key.encode())
        )
        milli = round(self._recipe.audit.part * 1000)
        chosen = looked_at(root, record, 0, len(groups[0]), milli)
        recorded = Recorded(request, {number: groups[0][number] for number in chosen})
        found = self._replayer.replay([recorded]).difference
        return None if found is None else found.what


def detection(court: Court, way: str, variant: str, answers: int) -> dict[str, Any]:
    """How many answers made this way are refused at the door, and found different by an audit."""
    court.sit(variant)
    requests = court.requests(0, answers)
    made = CHEATS[way](court.forger, requests)
    honest = court.forger.sampled(requests)
    refused = detected = same = 0
    by: dict[str, int] = {}
    for request, group, right in zip(requests, made, honest, strict=True):
        if court.refused(request, [group]):
            refused += 1
        elif (what := court.differs(request, [group])) is not None:
            detected += 1
            by[what] = by.get(what, 0) + 1
        elif group == right:
            same += 1  # what it came to is what was asked: nobody was harmed
    return {
        "way": way, "variant": variant, "answers": answers, "refused": refused,
        "detected": detected, "same_bits": same, "by": by,
    }  # fmt: skip


def honest(court: Court, variant: str, first: int, audits: int) -> dict[str, Any]:
    """How many honest answers an audit finds different: sampled in company of 1 to 16, on 1 and 2 threads."""
    court.sit(variant)
    threads, accused, done = torch.get_num_threads(), 0, 0
    try:
        while done < audits:
            company = min(1 << (done // 16 % 5), audits - done)
            requests = court.requests(first + done, company)
            torch.set_num_threads(1 + done // 80 % 2)
            made = court.forger.sampled(requests)
            torch.set_num_threads(1 + done // 160 % 2)
            for request, group in zip(requests, made, strict=True):
                is_bad = court.refused(request, [group]) or court.differs(request, [group])
                accused += bool(is_bad)
            done += company
    finally:
        torch.set_num_threads(threads)
    return {"way": HONEST, "variant": variant, "audits": audits, "accused": accused}


def tasks(plan: Plan, recipe: Recipe, tell: Tell) -> list[Task]:
    """Of each variant: every cheat, and honest audits in parts. The policy is trained when the first is asked for."""
    courts: list[Court] = []

    def court() -> Court:
        if not courts:
            courts.append(Court(recipe, plan, tell))
        return courts[0]

    def cheating(steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        for step in steps:
            yield [detection(court(), step["way"], step["variant"], step["answers"])]

    def right(steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        for step in steps:
            yield [honest(court(), step["variant"], step["first"], step["audits"])]

    by = {"recipe": recipe.digest, "updates": plan.updates, "seed": plan.seed}
    found = []
    for variant in plan.variants:
        own = by | {"variant": variant}
        ways = tuple({**own, "way": way, "answers": plan.answers} for way in CHEATS)
        each = plan.audits // len(plan.variants)
        parts = tuple(
            {**own, "way": HONEST, "first": first, "audits": min(plan.part, each - first)}
            for first in range(0, each, plan.part)
        )
        found += [Task(f"cheats, {variant}", ways, cheating), Task(f"honest, {variant}", parts, right)]  # fmt: skip
    return found


def measure(plan: Plan, recipe: Recipe, folder: Path, tell: Tell) -> None:
    """Run what the folder does not have yet.

    Raises:
        NotOurs: the folder has another's steps.
    """
    carry_out(tasks(plan, recipe, tell), Kept(folder), tell)


def result(plan: Plan, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What the folder has of the plan, ready for JSON."""
    rows = rows_of(tasks(plan, recipe, lambda text: None), Kept(folder))
    accused = [row for row in rows if row["way"] == HONEST]
    audits, wrong = sum(row["audits"] for row in accused), sum(row["accused"] for row in accused)
    audit, price_micro = recipe.audit, recipe.lease.price_micro
    rules = Rules(round(audit.floor * 1e6), price_micro, audit.stake)
    cheats = [_with_units(row, plan, rules) for row in rows if row["way"] != HONEST]
    low, high = exact_share(wrong, audits) if audits else (0.0, 1.0)
    return {
        "torch": torch.__version__,
        "floor": audit.floor,
        "stake": audit.stake,
        "part": audit.part,
        "known": KNOWN,
        "cheats": cheats,
        "honest": {"audits": audits, "accused": wrong, "low": low, "high": high},
    }


def _with_units(row: dict[str, Any], plan: Plan, rules: Rules) -> dict[str, Any]:
    """With the chance per audited answer, and mean units until the first hard verdict, by share and reputation."""
    accepted = row["answers"] - row["refused"]
    chance = row["detected"] / accepted if accepted else None
    row = {**row, "chance": chance}
    if accepted:
        low, high = exact_share(row["detected"], accepted)
        row |= {"low": low, "high": high}
    units = []
    for share in plan.shares if chance else ():
        means = [
            mean_units(lives(share, chance or 0.0, rules, verified, plan.trials, plan.seed))
            for verified in (0, KNOWN)
        ]
        units.append({"share": share, "newcomer": means[0], "known": means[1]})
    return {**row, "units": units}


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"exact mode, floor {found['floor']:.0%}, stake {found['stake']}, a {found['part']:.0%} part; units until the first hard verdict: of a newcomer / of a node with "
        f"{found['known']} answers found right",
        "cheat                    variant  refused  found by an audit  same bits   units at a share of the work",
    ]
    for row in found["cheats"]:
        of = row["answers"] - row["refused"]
        seen = f"{row['detected']:4} of {of:4}" if of else "none came in"
        units = "  ".join(
            f"{each['share']:g}: {each['newcomer']:.1f} / {each['known']:.0f}"
            for each in row["units"]
        )
        lines.append(
            f"{row['way']:24} {row['variant']:7} {row['refused']:8}  {seen:17} {row['same_bits']:10}   {units}"
        )
    right = found["honest"]
    lines.append(
        f"honest: {right['accused']} of {right['audits']} audits accuse; 95% interval of the rate "
        f"[{right['low']:.1e}, {right['high']:.1e}]"
    )
    return "\n".join(lines)


def _copied(state: State) -> State:
    with torch.no_grad():
        return {name: value.detach().clone() for name, value in state.items()}
