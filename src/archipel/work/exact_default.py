"""By which engine is a run sampled whose recipe leaves that open? Exact where it is as good a model and no slower.

Parts: `Decision`, `decide` (pure), `as_before` (of a run that goes on from another), `by_size` (what needs no
computing). What must be computed first, `exact_finding` computes. Law: loads no tensor library.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.model.config import EXACT_FAMILIES
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.weight_files import num_weights
from archipel.records.exact import variant_named
from archipel.work.kind import EngineChoice

if TYPE_CHECKING:
    from archipel.engine.exact.choice import Choice

MIN_PARAMETERS = 10_000_000
"""Smaller models spend their time on what the contract makes slower: below, exact is never the default."""
MAX_PARAMETERS = 500_000_000
"""Larger ones are neither measured nor timed while somebody waits for a run to open."""
MAX_RATIO = 1.0
"""Of a step's time to floating point's."""
BATCH = 32
"""Sequences that are timed together."""


@dataclass(frozen=True)
class Decision:
    """What a run is sampled by, and why."""

    variant: str | None
    """Of the exact contract; None: any engine."""
    why: str
    measured: "Choice | None" = None
    """What was measured for this decision; it belongs beside the weights."""

    def __str__(self) -> str:
        return f"{'any engine' if self.variant is None else f'exact {self.variant}'}: {self.why}"


def decide(num_parameters: int, choice: "Choice | None", ratio: float | None) -> Decision:
    """Exact, if the model is large enough, a variant is near enough, and a step takes no longer by it.

    choice: the cheapest variant that is near enough; None: none was found.
    ratio: a step's time by that variant over floating point's on this machine; None: not timed.
    """
    if num_parameters < MIN_PARAMETERS:
        millions, least = num_parameters / 1e6, MIN_PARAMETERS // 1_000_000
        return Decision(
            None,
            f"the model has {millions:.1f} million parameters, and below {least} exact is slower",
        )
    if choice is None:
        return Decision(None, "no variant of the exact contract was found near enough to fp32")
    if ratio is None or not ratio <= MAX_RATIO:
        took = "was not timed here" if ratio is None else f"takes {_times(ratio)}"
        return Decision(None, f"exact {choice.variant} is near enough{_far(choice)}, but {took}")
    return Decision(choice.variant, f"it is near enough{_far(choice)} and takes {_times(ratio)}")


def _times(ratio: float) -> str:
    return f"{ratio:.2f} of {EngineChoice().dtype}'s time here, {BATCH} sequences at once"


def _far(choice: "Choice") -> str:
    figures = choice.figures.get(choice.variant)
    if figures is None:
        return ""
    limit = "bf16's own" if choice.bound_from == "bf16" else "the bound given"
    where = "" if choice.measured_on is None else "; measured on an earlier version"
    return f" (KL from fp32 {figures.kl:.1e}, {limit} {choice.bound:.1e}{where})"


def as_before(run: str, contract: str | None) -> Decision | None:
    """What `run` was sampled by, for one that goes on from it; None if this software knows no such contract."""
    variant = None if contract is None else variant_named(contract)
    if contract is not None and variant is None:
        return None
    return Decision(variant, f"as run {run} was")


def of_adapters() -> Decision:
    """For a run whose versions are adapters."""
    return Decision(
        None,
        "versions are adapters, which floating point keeps beside the weights and exact would merge into them, and "
        "cut anew, for each version; state sampling.engine in the recipe for exact",
    )


def of_backend(backend: str) -> Decision | None:
    """For a run whose model this software does not compute itself; None: it does."""
    if backend == "archipel":
        return None
    return Decision(
        None, f"{backend} computes the model, in floating point and not batch-invariant"
    )


def by_size(model: Path, called: str) -> Decision | None:
    """What the size of the model directory `model` decides alone; None if more has to be known.

    called: what to call the directory.
    """
    try:
        count, family = num_weights(model), read_config(model).family
    except (InvalidModel, OSError) as error:
        return Decision(None, f"exact could not be tried: {error!s:.300}")
    if family not in EXACT_FAMILIES:
        return Decision(None, f"the exact contract does not describe {family}")
    if count < MIN_PARAMETERS:
        return decide(count, None, None)
    if count > MAX_PARAMETERS:
        return Decision(
            None,
            f"{count / 1e6:.0f} million parameters are too many to be measured and timed at opening; see "
            f"`archipel exact check {called} --write` and `archipel bench exact --model {called}`, and state "
            "sampling.engine in the recipe",
        )
    return None
