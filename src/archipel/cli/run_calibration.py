"""`archipel run open`, of a run that names its engine: by which calibration its answers are judged, in words.

Parts: `tell_audits`. Law: what single answers cannot show is said, and what nothing shows.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.run_engine import CALIBRATION

if TYPE_CHECKING:
    from archipel.proofs.record import Pair
    from archipel.records.recipe_form import RecipeForm

WORDS = {
    "flips": "tokens that the noise does not select {:.2%}",
    "excess_mean": "missed by a probability of {:.2g} on average",
    "excess_largest": "{:.2g} at most",
    "logprob_mean": "log-probabilities off by {:.2g} nats on average",
    "logprob_largest": "{:.2g} at most",
    "logprob_bias": "{:.2g} to one side",
    "temperature": "as if sampled {:.2%} hotter or colder",
    "exponents_mean": "fingerprints of other exponents {:.2%}",
    "exponents": "{:.2%} in one of them",
    "mantissas_mean": "mantissas off by {:.2g} of 128 on average",
    "mantissas": "{:.2g} in one of them",
}
"""Of every figure its limit, as the end of "no more than"."""


def tell_audits(recipe: "RecipeForm", weights: Path) -> None:
    """Whether answers are audited, by whose measurements and within which limits; if not, why."""
    from archipel.records.engine_classes import MEASURED
    from archipel.records.recipe import Recipe

    named = recipe.sampling.engine_class if isinstance(recipe, Recipe) else None
    if named is None or not isinstance(recipe, Recipe):
        return
    if not (weights / CALIBRATION).exists():
        can = f"`archipel proofs calibrate {weights} --out {weights / CALIBRATION}` measures what honest answers reach"
        why = can if named in MEASURED else f"only those of {', '.join(sorted(MEASURED))} can be"
        click.echo(f"answers of {named} will not be audited: {why}", err=True)
        return
    for line in _cited(weights / CALIBRATION, named, fingerprints=recipe.audit.fingerprints):
        click.echo(line, err=True)


def _cited(path: Path, named: str, *, fingerprints: bool) -> list[str]:
    """Nothing of a record that this run cannot be judged by: opening says why."""
    from archipel.proofs.citing import measures_of, pair_of_class
    from archipel.proofs.record import BadCalibration, Calibration
    from archipel.work.calibrated import opened

    try:
        held = opened(path.read_bytes())
        pair = pair_of_class(held.record, named, fingerprints=fingerprints)
        record = Calibration.from_bytes(held.record)
        digest = measures_of(held.record, named, 0.01, fingerprints=fingerprints).calibration
    except (OSError, BadCalibration):
        return []
    by = f"signed by {held.signer}" if held.signer else "signed by nobody"
    return [
        f"answers are judged by {CALIBRATION} ({digest}), {by}, measured {record.made} on {record.machine}",
        f"  no more than: {'; '.join(_limits(pair, fingerprints=fingerprints))}",
        f"  an honest answer is beyond a limit in at most {pair.false_at_most:.2%} of audits ({pair.honest} were measured)",
        *_warnings(pair, fingerprints=fingerprints),
    ]


def _limits(pair: "Pair", *, fingerprints: bool) -> list[str]:
    from archipel.records.fingerprints import FIGURES

    return [
        words.format(pair.thresholds[name])
        for name, words in WORDS.items()
        if name in pair.thresholds and (fingerprints or name not in FIGURES)
    ]


def _warnings(pair: "Pair", *, fingerprints: bool) -> list[str]:
    """Of each cheat that honest answers overlap: how it is told, or that it is not."""
    from math import isfinite

    from archipel.proofs.citing import audits_needed, overlaps_of

    lines = []
    for name in overlaps_of(pair, fingerprints=fingerprints):
        caught, needed = pair.cheats.get(name), audits_needed(pair, name, fingerprints=fingerprints)
        passed = "answers" if caught is None else f"some of {caught.answers} answers"
        how = "no sum tells it either: a node that does it is NOT found"
        if isfinite(needed):
            how = f"sums accuse it after some {needed:,.0f} audits of a node that does nothing else"
        lines.append(f"  warning: {passed} of {name} passed for honest; {how}")
    if pair.blind and not fingerprints and set(pair.blind) - set(pair.overlaps):
        lines.append(
            f"  fingerprints would show {', '.join(sorted(set(pair.blind) - set(pair.overlaps)))} in every answer "
            "([audit] fingerprints = true)"
        )
    return lines
