"""Honest answers, made and audited: what runs in the processes of `bench.honest_sides`.

Law: answers go from one to the other as a node sends them, and what the door refuses counts as accused.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archipel.bench.court import Court, read_policy
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe

COMPANY = (1, 2, 4, 8, 16)
"""Answers that are sampled together, one after another."""


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
    policy = read_policy(recipe, [Path(job["policy"])])
    court = Court(policy)
    court.sit(variant)
    return court
