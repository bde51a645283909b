"""What our engine and our trainer compute on a device, held against this machine's processor: `archipel bench device`.

Parts: `DevicePlan`, `Finding`, `measure`, `table`; the checks are in `device_checks`, the speeds in `device_speed`.
Law: what must hold for runs to be right is told apart from what is only good to know; nothing is passed over:
a check that breaks off is a finding, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from textwrap import TextWrapper
from typing import Any

from archipel.bench.contestants import DTYPES, Dtype
from archipel.bench.device_checks import Finding, engine_findings, exact_finding, trainer_findings
from archipel.bench.device_speed import exact_speeds, sampling_speed, training_speed
from archipel.model.config import FAMILIES, Family
from archipel.model.devices import about, ready_device

WIDTH = 80
"""Columns of the table where nobody says another number."""


@dataclass(frozen=True)
class DevicePlan:
    """What is looked at."""

    families: tuple[Family, ...] = FAMILIES
    """Architectures whose engine is compared with the trainer's network."""
    dtypes: tuple[Dtype, ...] = DTYPES
    versions: int = 4
    """Of the small runs that are made twice."""
    models: tuple[str, ...] = ("demo",)
    """Whose speed is measured."""
    batch: int = 128
    """Sequences at once, there."""
    exact: bool = True
    """Whether the exact contracts are tried, and their speed measured."""


WHOLE = DevicePlan()
ACCELERATED = replace(WHOLE, models=("demo", "30m", "100m"), batch=256)
"""Where a minute of a processor is a second."""
QUICK = replace(WHOLE, families=("llama", "qwen3"), versions=2)

Check = Callable[[], Iterator[Finding]]


def measure(name: str, plan: DevicePlan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Go through the plan on the device `name`; the result is ready for JSON.

    Raises:
        NoDevice: it is not here.
    """
    device = ready_device(name)
    checks: list[tuple[str, Check]] = [
        (f"engine, {family}, {dtype}", lambda f=family, d=dtype: engine_findings(name, f, d))  # type: ignore[misc]
        for family in plan.families
        for dtype in plan.dtypes
    ]
    checks.append(("trainer", lambda: trainer_findings(name, plan.versions)))
    if plan.exact:
        checks.append(("exact contracts", lambda: iter((exact_finding(name),))))
    found: list[Finding] = []
    for what, check in checks:
        tell(what)
        found += _looked(what, check)
    speeds = []
    for model in plan.models:
        for dtype in plan.dtypes:
            tell(f"speed of sampling, {model}, {dtype}")
            speeds.append(sampling_speed(name, model, dtype, plan.batch))
        if plan.exact:
            tell(f"speed of the exact contracts, {model}")
            speeds += exact_speeds(name, model, plan.batch)
        tell(f"speed of learning, {model}")
        speeds.append(training_speed(name, model, plan.batch))
    return {
        "device": str(device),
        "about": about(device),
        "sound": all(each.held for each in found if each.needed),
        "findings": [asdict(each) for each in found],
        "speeds": [asdict(each) for each in speeds],
    }


def _looked(what: str, check: Check) -> list[Finding]:
    try:
        return list(check())
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [Finding(what, held=False, needed=True, said=f"broke off: {reason:.300}")]


def table(result: dict[str, Any], width: int = WIDTH) -> str:
    """The result for people, in lines of at most `width` columns."""
    lines = [f"{result['device']}: {result['about']}"]
    for each in result["findings"]:
        mark = "holds" if each["held"] else ("DOES NOT HOLD" if each["needed"] else "does not hold")
        lines.append(f"{mark:<14} {each['name']}: {each['said']}")
    lines += [
        f"{each['tokens_per_s']:>12,.0f} tokens/s {each['what']}, {each['model']}, {each['dtype']}, "
        f"{each['batch']} sequences of {each['length']} tokens"
        for each in result["speeds"]
    ]
    fold = TextWrapper(width, subsequent_indent=" " * 15, break_on_hyphens=False).fill
    return "\n".join(map(fold, lines))
