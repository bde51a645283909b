"""What the opening of a run in floating point cites of the calibration that lies beside its first weights."""

from pathlib import Path

from archipel.proofs.citing import measures_of
from archipel.proofs.record import BadCalibration, Calibration
from archipel.records.audits import AuditTerms
from archipel.records.programmes.rl import audit_terms
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import RecipeForm
from archipel.work.calibrated import opened

CALIBRATION = "calibration.json"
"""As `work.measuring.CALIBRATION` has it."""


class NotCited(ValueError):
    """The calibration is none that this run can be audited by."""


def audited_by(recipe: RecipeForm, calibration: Path | None) -> dict[str, AuditTerms]:
    """The part of a pace that says how answers in floating point are audited.

    calibration: the record that audits go by. Nothing is said without one, or where the run names no engine.

    Raises:
        NotCited: damaged, of another precision or temperature, or a pair that was refused; or fingerprints are asked
            for and nobody could look at them.
    """
    if not isinstance(recipe, Recipe):
        return {}
    named = recipe.sampling.engine_class
    _require_looked_at(recipe, named, calibration)
    if named is None or calibration is None:
        return {}
    if recipe.adapter is not None:
        raise NotCited(
            f"{calibration.name} is of whole weights, and [adapter] samples from others beside them; leave one out"
        )
    try:
        data, audit = opened(calibration.read_bytes()).record, recipe.audit
        _require_alike(recipe, data)
        measures = measures_of(
            data, named, audit.false_accusations, fingerprints=audit.fingerprints
        )
    except (OSError, BadCalibration) as error:
        raise NotCited(f"{calibration}: {error}") from None
    return {"audit": audit_terms(recipe, measures)}


def _require_looked_at(recipe: Recipe, named: str | None, calibration: Path | None) -> None:
    """Raises NotCited: every answer would bring fingerprints in vain."""
    if not recipe.audit.fingerprints:
        return
    if named is None or calibration is None:
        raise NotCited(
            "audit.fingerprints asks for what a calibration beside the weights sets limits for, and this run "
            + (
                "names no engine ([sampling] engine, precision, device)"
                if named is None
                else "has none (`archipel proofs calibrate --out`)"
            )
            + "; leave fingerprints out, or add it"
        )
    if recipe.episode is not None:
        raise NotCited(
            "audit.fingerprints is not for runs with [episode] yet; leave one of them out"
        )


def _require_alike(recipe: Recipe, data: bytes) -> None:
    """Raises BadCalibration: it was measured at another temperature than the run samples at."""
    measured, asked = (
        Calibration.from_bytes(data).plan.get("temperature"),
        recipe.sampling.temperature,
    )
    if measured != asked:
        raise BadCalibration(
            f"measured at temperature {measured}, the run samples at {asked}; calibrate with --temperature {asked}"
        )
