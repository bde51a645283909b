"""What was calibrated, as audits cite it: the thresholds of each pair of prover and verifier, and how sure they are.

JSON with its own digest (`records.kept`). Law: a record that is damaged, of another form or out of its bounds is
`BadCalibration`; a pair that was refused has no thresholds, and nobody is judged by it.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from archipel.records.fields import Closed, Digest
from archipel.records.kept import Damaged, kept, read_kept

RECORD_TYPE = "application/vnd.archipel.calibration.v1+json"
MAX_BYTES = 48_000
"""It fits an envelope."""
LEAST_DRAWN = 32
"""Tokens that the noise decided; with fewer an answer is too thin to be judged."""

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Figure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Number = Annotated[int, Field(ge=0, le=2**40)]
Says = Literal["agrees", "differs", "abstains"]


class BadCalibration(ValueError):
    """Bytes that are no record of a calibration, or a pair that it does not have."""


class Caught(Closed):
    """One cheat under the thresholds."""

    answers: Number
    caught: Number
    at_least: Rate
    """Lower bound on the chance that one audit catches it."""
    by: Annotated[dict[Name, Number], Field(max_length=32)]
    """Figure -> answers that exceed its threshold."""
    plainly: Number | None = None
    """Of those caught, by tokens and log-probabilities alone; None, here and below: of a record from before there were
    fingerprints in answers."""


class Watch(Closed):
    """How a sequential test tells a cheat that single audits do not (`sequential.SequentialTest`)."""

    figure: Name
    border: Figure
    """An answer with more is odd."""
    honest: Rate
    """Upper bound."""
    cheat: Rate
    """Lower bound."""


class Pair(Closed):
    """A prover and a verifier."""

    prover: Name
    verifier: Name
    honest: Number
    """Answers, half of which scaled the figures and half of which set the limit."""
    usable: bool
    thresholds: Annotated[dict[Name, Figure], Field(max_length=32)]
    """Figure -> more of it differs; none where the pair is refused."""
    false_at_most: Rate
    """Upper bound on the chance that an honest answer exceeds any of them."""
    cheats: Annotated[dict[Name, Caught], Field(max_length=32)]
    overlaps: Annotated[tuple[Name, ...], Field(max_length=32)]
    """Cheats of which an answer passed."""
    watched: Annotated[dict[Name, Watch], Field(max_length=32)]
    """Cheats that are left to the sequential test."""
    blind: Annotated[tuple[Name, ...] | None, Field(max_length=32)] = None
    """Cheats of which an answer passed where nobody looks at fingerprints."""
    watched_blind: Annotated[dict[Name, Watch] | None, Field(max_length=32)] = None
    """How those are told by tokens and log-probabilities."""

    def judge(self, figures: Mapping[str, float], drawn: int) -> Says:
        """What one audit says of an answer.

        Raises:
            BadCalibration: the pair was refused, or a figure is missing.
        """
        if not self.usable or set(figures) != set(self.thresholds):
            raise BadCalibration(
                f"prover {self.prover}, verifier {self.verifier}: thresholds for {sorted(self.thresholds)}, figures "
                f"{sorted(figures)}; calibrate again"
            )
        if drawn < LEAST_DRAWN:
            return "abstains"
        # Not `>`: what is no number has to differ.
        passes = all(figures[name] <= most for name, most in self.thresholds.items())
        return "agrees" if passes else "differs"


class Calibration(Closed):
    """Of one model on one machine."""

    format: Literal[1] = 1
    model: Digest
    """Of the weights."""
    machine: Annotated[str, Field(max_length=400)]
    made: Annotated[str, Field(max_length=40)]
    confidence: Rate
    plan: Annotated[dict[Name, Any], Field(max_length=32)]
    pairs: Annotated[tuple[Pair, ...], Field(max_length=64)]

    def pair(self, prover: str, verifier: str) -> Pair:
        """Raises BadCalibration: nobody calibrated it."""
        for each in self.pairs:
            if (each.prover, each.verifier) == (prover, verifier):
                return each
        raise BadCalibration(
            f"no pair of prover {prover:.40} and verifier {verifier:.40}; calibrate it"
        )

    @property
    def left_to_sums(self) -> tuple[str, ...]:
        """Cheats that single answers need not show."""
        told = self.plan.get("sequential", ())
        return tuple(map(str, told)) if isinstance(told, (list, tuple)) else ()

    def to_bytes(self) -> bytes:
        """See `from_bytes`."""
        return kept(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """Read what `to_bytes` wrote.

        Raises:
            BadCalibration: too long, damaged, or not such a record.
        """
        if len(data) > MAX_BYTES:
            raise BadCalibration(f"{len(data)} bytes; a calibration has at most {MAX_BYTES}")
        try:
            found = cls.model_validate(_tuples(read_kept(data, strict=True)))
        except (Damaged, ValidationError, RecursionError, UnicodeError) as error:
            raise BadCalibration(f"no calibration: {error!s:.300}") from None
        for pair in found.pairs:
            if pair.usable != bool(pair.thresholds) or not all(
                map(math.isfinite, pair.thresholds.values())
            ):
                raise BadCalibration("a pair has thresholds exactly if it is usable")
        return found


def _tuples(value: Any) -> Any:
    """Lists as the tuples that closed models ask for."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(each) for key, each in value.items()} if isinstance(value, dict) else value
