"""How often audits accuse honest nodes, where neither side knows the other's processor, threads or company.

Parts: `Side` (under what somebody works), `parts` (which answers are made and audited under what), `checked` (one
part: two processes of `bench.exact_job`, which do what `bench.honest` says). Answers are made by one process, kept as a
file, and recomputed by another under other instructions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.bench.exact_job import CAPS, run_job
from archipel.records.recipe import Recipe

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
