"""What `archipel release rebuild` says: what came out equal, of how much of the run, and what it cost."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archipel.plurals import counted
from archipel.release.stages import Share, kinds_rebuilt, run_seconds, shares

if TYPE_CHECKING:
    from archipel.cli.rebuilding import Rebuild
    from archipel.release.stages import Outcome

MAX_SHOWN = 20
UNITS = {
    "supervised": "supervised stage",
    "update": "updates",
    "rollouts": "sampled tokens",
    "evaluation": "evaluations",
}


def facts(rebuild: "Rebuild", out: Path) -> dict[str, Any]:
    """For machines."""
    made = _made(rebuild)
    cost = _cost(rebuild, made)
    return {
        "run": rebuild.subject.story.name,
        "release": rebuild.release,
        "stages": len(rebuild.stages),
        "asked": [each.name for each in rebuild.asked],
        "came": [asdict(each) for each in made],
        "shares": [asdict(each) for each in shares(rebuild.stages, rebuild.came)],
        **cost,
        "machine": rebuild.subject.machine,
        "threads": rebuild.subject.threads,
        "by_its_code": rebuild.by_its_code,
        "rebuilt": kinds_rebuilt(rebuild.stages, rebuild.came, by_its_code=rebuild.by_its_code),
        "report": str(out),
    }


def lines(rebuild: "Rebuild", out: Path) -> Iterator[str]:
    """For people."""
    made = _made(rebuild)
    cost = _cost(rebuild, made)
    yield f"run {rebuild.subject.story.name}, {counted(len(rebuild.stages), 'stage')}; made again, and equal in every bit:"
    for share in shares(rebuild.stages, rebuild.came):
        yield f"  {_told(share)}"
    for how, title in (("differs", "CAME OUT OTHERWISE:"), ("near", "not equal, and near:"), ("not shown", "not made again:")):  # fmt: skip
        yield from _of(made, how, title)
    ratio = cost["of_the_run"]
    compared = "" if ratio is None else f", {ratio:.2f} of what the run says that the same took"
    yield f"it cost {cost['processor_s']:.1f} s of processors in {cost['wall_s']:.1f} s{compared}"
    yield f"on {rebuild.subject.machine}, {counted(rebuild.subject.threads, 'thread')}"
    if not rebuild.by_its_code:
        yield "this software is not the very source that the release brings, so that its code counts as not run"
    yield f"{out}: `archipel release openness --rebuilt` reads it"


def _made(rebuild: "Rebuild") -> "list[Outcome]":
    """Of what was asked, in order; of earlier calls, too."""
    came = rebuild.came
    return [came[each.name] for each in rebuild.asked if each.name in came]


def _told(share: Share) -> str:
    percent = 100 * share.made / share.total if share.total else 0.0
    return f"{share.made} of {share.total} {UNITS[share.of]} ({percent:.0f} %)"


def _of(made: "list[Outcome]", how: str, title: str) -> Iterator[str]:
    """One line for each that came so; those with the same reason share one."""
    reasons: dict[str, list[str]] = {}
    for each in made:
        if each.came == how:
            reasons.setdefault(each.why, []).append(each.stage)
    if reasons:
        yield title
    for number, (why, names) in enumerate(reasons.items()):
        if number == MAX_SHOWN:
            yield f"  and {len(reasons) - MAX_SHOWN} more (--json)"
            return
        yield f"  {_named(names)}: {why}"


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)})"


def _cost(rebuild: "Rebuild", made: "list[Outcome]") -> dict[str, Any]:
    processor_s, wall_s = sum(each.processor_s for each in made), sum(each.wall_s for each in made)
    by_name = {each.stage: each for each in made if each.came in ("equal", "near", "differs")}
    told = [each for each in rebuild.asked if each.run_ms and each.name in by_name]
    run_s = run_seconds(told)
    spent = sum(by_name[each.name].processor_s for each in told)
    return {
        "processor_s": processor_s,
        "wall_s": wall_s,
        "run_s": run_s,
        "of_the_run": spent / run_s if run_s else None,
    }
