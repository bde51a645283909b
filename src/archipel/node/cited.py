"""What the opening of a run in floating point cites of the calibration that lies beside its first weights."""

from pathlib import Path

from archipel.proofs.citing import measures_of
from archipel.proofs.record import BadCalibration, Calibration
from archipel.records.audits import AuditTerms
from archipel.records.programmes.rl import audit_terms
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import RecipeForm

CALIBRATION = "calibration.json"
"""As `work.measuring.CALIBRATION` has it."""


class NotCited(ValueError):
    """The calibration is none that this run can be audited by."""


def audited_by(recipe: RecipeForm, calibration: Path | None) -> dict[str, AuditTerms]:
    """The part of a pace that says how answers in floating point are audited.

    calibration: the record that audits go by. Nothing is said without one, or where the run names no engine.

    Raises:
        NotCited: damaged, of another precision or temperature, or a pair that was refused.
    """
    named = recipe.sampling.engine_class if isinstance(recipe, Recipe) else None
    if named is None or calibration is None or not isinstance(recipe, Recipe):
        return {}
    if recipe.adapter is not None:
        raise NotCited(
            f"{calibration.name} is of whole weights, and [adapter] samples from others beside them; leave one out"
        )
    try:
        data = calibration.read_bytes()
        _require_alike(recipe, data)
        measures = measures_of(data, named, recipe.audit.false_accusations)
    except (OSError, BadCalibration) as error:
        raise NotCited(f"{calibration}: {error}") from None
    return {"audit": audit_terms(recipe, measures)}


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
