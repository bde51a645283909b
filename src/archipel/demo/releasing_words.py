"""What the demo says of its release, for people: five lines, out of what was read from the bundle, and one of
its first answer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archipel.demo.answering import Answered
from archipel.demo.releasing import Released
from archipel.plurals import counted

Tell = Callable[[str], None]
MAX_NAMED = 4
ROMAN = {0: "no class", 1: "class I", 2: "class II", 3: "class III"}


def tell_release(done: Released, names: Mapping[str, str], tell: Tell) -> None:
    """names: key -> what its holder is called in the demo."""
    made, bundle = done.made, done.bundle
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    tell(f"release   {bundle}   {size / 1e6:.0f} MB, version {made['version']}, weights {made['weights'][:19]}..., "
         f"signed by {made['key'][:12]}..., for whom the lab's operator vouches")  # fmt: skip
    steps = done.verified["steps"]
    holding = sum(step["outcome"] == "holds" for step in steps)
    unshown = len(steps[-1]["not_shown"])
    tell(f"verified  by a process without network and tensor library in {done.seconds['verify']:.1f} s: {holding} of "
         f"{counted(len(steps) - 1, 'step')} hold; {counted(unshown, 'thing')} it cannot show: archipel release verify {bundle}")  # fmt: skip
    met = sum(each.answer == "met" for each in done.grade.osaid)
    counts = sum(each.counts for each in done.grade.parts)
    tell(f"class     {ROMAN[done.grade.classes.present]} of the Model Openness Framework by the bytes, with {counts} of its "
         f"{len(done.grade.parts)} components; {met} of {len(done.grade.osaid)} lines of the Open Source AI Definition met; "
         f"to make it again: archipel release rebuild {bundle} --stage all")  # fmt: skip
    tell(
        f"shares    {_shares(done.owned, names)}: archipel ownership {done.made['run']} --bundle {bundle}"
    )
    tell(f"trace     {_trace(done.traced['shares'], names)}: archipel trace {bundle}")


def tell_answer(answered: Answered, tell: Tell) -> None:
    """What it answered, and to whom that can be shown."""
    where = "with no network but its own address" if answered.is_offline else "on this machine"
    found = (
        f"{answered.differences} of them differ" if answered.differences else "every bit the same"
    )
    tell(f"private   {answered.prompt}{answered.text}   answered by the release, served {where}, and signed; its "
         f"{counted(answered.tokens, 'token')} and their log-probabilities computed again in {answered.verified_s:.1f} s: "
         f"{found}: archipel serve {answered.model} --prove-offline")  # fmt: skip


def _trace(shares: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What the weights learned from, by machine."""
    machines = [each for each in shares["lines"] if each["kind"] == "machine" and each["tokens"]]
    told = [(each["name"], each["tokens"]) for each in machines]
    learned = f"learned from {counted(shares['groups'], 'group')} and {counted(shares['tokens'], 'token')}"
    return f"{learned}, {_named(told, shares['tokens'], names)}"


def _shares(owned: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The largest, and how many more."""
    held = [each for each in owned["holders"] if each["units"]]
    told = [(each["holder"], each["units"]) for each in held]
    said = _named(told, sum(units for _, units in told), names)
    return said if owned["is_divided"] else f"{said}; divided once no verdict can be contested"


def _named(parts: Sequence[tuple[str, int]], whole: int, names: Mapping[str, str]) -> str:
    """Of the whole, in their order."""
    told = [
        f"{names.get(who, who[-8:])} {part / max(whole, 1):.1%}" for who, part in parts[:MAX_NAMED]
    ]
    rest = len(parts) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest > 0 else "")
