"""What the demo says of its release, for people: five lines, out of what was read from the bundle."""

from collections.abc import Callable, Mapping
from typing import Any

from archipel.demo.releasing import Released
from archipel.plurals import counted

Tell = Callable[[str], None]
MAX_HOLDERS = 4
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
         f"made again: archipel release rebuild {bundle} --stage all")  # fmt: skip
    tell(
        f"shares    {_shares(done.owned, names)}: archipel ownership {done.made['run']} --bundle {bundle}"
    )


def _shares(owned: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The largest, and how many more."""
    held = [each for each in owned["holders"] if each["units"]]
    whole = sum(each["units"] for each in held) or 1
    told = [
        f"{names.get(each['holder'], each['holder'][-8:])} {each['units'] / whole:.1%}"
        for each in held[:MAX_HOLDERS]
    ]
    rest = len(held) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest > 0 else "")
