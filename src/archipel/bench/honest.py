"""How often audits accuse honest nodes, where neither side knows the other's processor, threads or company.

Parts: `Side` (under what somebody works), `parts` (which answers are made and audited under what), `checked` (one
part: two processes of `bench.exact_job`), and what runs in those: `make` and `audit`. Answers are made by one process,
packed as a node sends them, kept as a file, and recomputed by another under other instructions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.bench.court import Court, Policy, read_policy
from archipel.bench.exact_job import CAPS, run_job
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe

COMPANY = (1, 2, 4, 8, 16)
"""Answers that are sampled together, one after another."""
ANSWERS = "answers.safetensors"


@dataclass(frozen=True)
class Side:
    """Under what somebody samples or audits."""

    cap: str
    """Of `exact_job.CAPS`."""
    threads: int

    @property
    def name(self) -> str:
        return f"{self.cap}, {self.threads} threads"


SIDES = tuple(Side(cap, threads) for threads in (1, 2) for cap in CAPS)


def sides_of(part: int) -> tuple[Side, Side]:
    """Who makes this part and who audits it: in 64 parts, everybody everybody's."""
    maker = part % len(SIDES)
    further = 1 + part // len(SIDES)
    return SIDES[maker], SIDES[(maker + further) % len(SIDES)]


def parts(audits: int, size: int) -> Iterator[dict[str, Any]]:
    """Parts of `size` answers, in words of a kept step."""
    for number, first in enumerate(range(0, audits, size)):
        maker, auditor = sides_of(number)
        yield {
            "first": first, "audits": min(size, audits - first),
            "maker": [maker.cap, maker.threads], "auditor": [auditor.cap, auditor.threads],
        }  # fmt: skip


def checked(
    step: Mapping[str, Any], policy: Path, recipe: Recipe, folder: Path, environment: Mapping[str, str]
) -> dict[str, Any]:  # fmt: skip
    """How many answers of this part an audit finds different, and what it finds.

    policy: model directory of the newest weights. recipe: as `court.of_bench` gives it.

    Raises:
        JobFailed: a process ended badly.
    """
    common = {"policy": str(policy), "recipe": recipe.model_dump_json(), "answers": str(folder / ANSWERS)}  # fmt: skip
    found: list[dict[str, Any]] = []
    for do, (cap, threads) in (("make", step["maker"]), ("audit", step["auditor"])):
        job = {"do": do, "cap": cap, "threads": threads, "steps": [dict(step)], **common}
        for rows in run_job(job, folder / do, environment):
            found += rows
    return {**step, **found[-1]}


def make(job: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """In a process of its own: sample the answers of each step and keep them."""
    for step in job["steps"]:
        court = _court(job, step["variant"])
        groups = []
        at, turn = 0, 0
        while at < step["audits"]:
            count = min(COMPANY[turn % len(COMPANY)], step["audits"] - at)
            groups += court.forger.sampled(court.requests(step["first"] + at, count))
            at, turn = at + count, turn + 1
        Path(job["answers"]).write_bytes(court.packed(groups))
        yield []  # nothing to tell before it is audited


def audit(job: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """In another: check and recompute them, one by one."""
    for step in job["steps"]:
        court = _court(job, step["variant"])
        requests = court.requests(step["first"], step["audits"])
        by: dict[str, int] = {}
        try:
            groups = court.unpacked(Path(job["answers"]).read_bytes(), requests[0], step["audits"])
        except BadPayload as error:
            yield [{"accused": step["audits"], "by": {f"refused: {error}": step["audits"]}}]
            continue
        for request, group in zip(requests, groups, strict=True):
            what = court.differs(request, [group])
            if what is not None:
                by[what] = by.get(what, 0) + 1
        yield [{"accused": sum(by.values()), "by": by}]


def _court(job: Mapping[str, Any], variant: str) -> Court:
    recipe = Recipe.model_validate_json(job["recipe"])
    policy: Policy = read_policy(recipe, [Path(job["policy"])])
    court = Court(policy)
    court.sit(variant)
    return court
