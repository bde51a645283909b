"""Which variant of the exact contract a model needs, and the small file that says so beside its weights.

Parts: `Choice`, `choose`, `write_choice`, `read_choice`, `carry_choice`. The file is no proof: it names the weights and
the text that it was measured with, so that anybody can measure again.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from archipel.engine.exact.scoring import BF16, Figures
from archipel.engine.exact.variants import VARIANTS, variant_of
from archipel.model.json_files import BadJsonFile, read_json_object

FILE = "exact.json"
FORMAT = "archipel/exact-choice/1"
MAX_FILE_BYTES = 64 * 1024


class NotCloseEnough(ValueError):
    """No variant is as close to fp32 as was asked for."""


class BadChoice(ValueError):
    """The file does not say which variant these weights need."""


@dataclass(frozen=True)
class Choice:
    """The cheapest variant below a bound, with what was measured."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    variant: str
    identity: str
    """Of the contract, with this variant."""
    bound: float
    """Nats of KL from fp32."""
    bound_from: str
    """`bf16`: its own distance on this text; or `given`."""
    figures: Mapping[str, Figures]
    """fp32, bf16 and each variant that was measured."""
    text: str
    """sha256 of the calibration text's tokens."""
    state: str
    """Digest of the weights that it is for."""
    measured_on: str | None = None
    """Digest of the weights that were measured, where those are an earlier version; None: these."""


_CHOICE = TypeAdapter(Choice)


def choose(figures: Mapping[str, Figures], bound: float | None) -> tuple[str, float, str]:
    """The cheapest variant whose KL is at most the bound; that bound; where it is from.

    bound: None is bf16's own KL, which is among the figures.

    Raises:
        NotCloseEnough: says how close the closest is.
    """
    origin = BF16 if bound is None else "given"
    limit = figures[BF16].kl if bound is None else bound
    measured = [name for name in VARIANTS if name in figures]
    for name in measured:
        if figures[name].kl <= limit:
            return name, limit, origin
    closest = min(measured, key=lambda name: figures[name].kl)
    reason = "bf16's own distance on this text" if bound is None else "what --bound allows"
    raise NotCloseEnough(
        f"no variant is within {limit:.2e} nats of fp32, {reason}: the closest, {closest}, is at "
        f"{figures[closest].kl:.2e}; run this model in fp32 or bf16, or allow more with --bound"
    )


def write_choice(folder: Path, choice: Choice) -> Path:
    """Write the file into a model directory; an older one is replaced whole.

    Raises:
        OSError: the folder is not writable.
    """
    path, partial = folder / FILE, folder / f".{FILE}.partial"
    text = json.dumps({"format": FORMAT, **_known(choice)}, indent=2, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def carry_choice(folder: Path, out: Path, state: str) -> Choice | None:
    """Write the choice in `folder` into `out`, for weights `state` that were trained on from those that it is for.

    It is marked as not measured on them. Returns None, and writes nothing, if there is no choice.

    Raises:
        BadChoice: it is not one of ours, or of another contract than this one.
        OSError: `out` is not writable.
    """
    if not (folder / FILE).exists():
        return None
    choice = _read(folder / FILE)
    if choice.state != state:
        choice = replace(choice, state=state, measured_on=choice.measured_on or choice.state)
    write_choice(out, choice)
    return choice


def read_choice(folder: Path, state: str) -> Choice:
    """The choice for the weights with digest `state`.

    Raises:
        BadChoice: no such file, not one of ours, of other weights, or of another contract than this one.
    """
    choice = _read(folder / FILE)
    if choice.state != state:
        raise BadChoice(
            f"{folder / FILE} speaks of weights {choice.state:.23}, these are {state:.23}; "
            "run archipel exact check --write again"
        )
    return choice


def _read(path: Path) -> Choice:
    try:
        choice = _parsed(read_json_object(path, MAX_FILE_BYTES))
    except (BadJsonFile, BadChoice) as error:
        raise BadChoice(
            f"{path}: {error!s:.200}; write it with archipel exact check --write"
        ) from None
    if choice.identity != variant_of(choice.variant).identity:
        raise BadChoice(
            f"{path} speaks of contract {choice.identity!r:.60}, this program has "
            f"{variant_of(choice.variant).identity}; run archipel exact check --write again"
        )
    return choice


def _parsed(fields: dict[str, Any]) -> Choice:
    """Raises BadChoice: another form, or a field that is missing, unknown or of another type."""
    if (found := fields.pop("format", None)) != FORMAT:
        raise BadChoice(f"format is {found!r:.40}, expected {FORMAT}")
    figures = fields.get("figures")
    for each in (fields, *(figures.values() if isinstance(figures, dict) else ())):
        _check_finite(each)
    for each in figures.values() if isinstance(figures, dict) else ():
        if isinstance(each, dict):
            each.update({key: math.nan for key, number in each.items() if number is None})
    try:
        choice = _CHOICE.validate_python(fields)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        raise BadChoice(f"{'.'.join(map(str, fault['loc'])):.80}: {fault['msg']}") from None
    if choice.variant not in VARIANTS:
        raise BadChoice(f"variant is {choice.variant!r:.40}, expected one of {', '.join(VARIANTS)}")
    return choice


def _check_finite(fields: Any) -> None:
    """Raises BadChoice: Python reads numbers that JSON does not have, and whoever writes them again cannot."""
    for name, number in fields.items() if isinstance(fields, dict) else ():
        if isinstance(number, float) and not math.isfinite(number):
            raise BadChoice(f"{name:.80} is {number}, expected a finite number, or null")


def _known(choice: Choice) -> dict[str, Any]:
    """As JSON has it, which knows no NaN."""
    fields = asdict(choice)
    for each in fields["figures"].values():
        each.update(
            {key: None for key, n in each.items() if isinstance(n, float) and math.isnan(n)}
        )
    return fields
