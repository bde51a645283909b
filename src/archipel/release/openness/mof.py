"""The Model Openness Framework: seventeen components, three classes, and what counts for each.

Source: White et al., "The Model Openness Framework" (arXiv 2403.13784), and its public tool
(github.com/lfai/model_openness_tool: mof.settings, ModelEvaluator, 2026-05-11), whose numbers these rules give.
Laws: pure. A component counts if it is there under an open licence; one of another type than the component is a
warning. A research paper stands for a missing technical report. A class counts only if the lower ones are met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from archipel.release.openness.licences import Type, terms

CLASS_NAMES: Final = {
    0: "Unclassified",
    1: "Class I - Open Science Model",
    2: "Class II - Open Tooling Model",
    3: "Class III - Open Model",
}
Class = Literal[0, 1, 2, 3]
"""1 is the highest; 0 is none."""
CLASSES: Final[tuple[Class, ...]] = (3, 2, 1)
"""Each asks for all that the one before it does."""


@dataclass(frozen=True, slots=True)
class Part:
    """A component that the framework knows."""

    name: str
    type: Type
    accepts: frozenset[Type]
    """Types of licences that fit it: the framework's content types of the component."""
    of_class: Class
    """That asks for it, or suggests it."""
    is_required: bool = True


def _part(name: str, types: str, of_class: Class, is_required: bool = True) -> Part:
    first, *more = types.split()
    accepts = frozenset((first, *more))
    return Part(name, first, accepts, of_class, is_required)  # type: ignore[arg-type]  # words of the table


ARCHITECTURE: Final = "Model architecture"
PARAMETERS: Final = "Model parameters (Final)"
CARD: Final = "Model card"
DATA_CARD: Final = "Data card"
REPORT: Final = "Technical report"
RESULTS: Final = "Evaluation results"
TRAINING_CODE: Final = "Training code"
INFERENCE_CODE: Final = "Inference code"
EVALUATION_CODE: Final = "Evaluation code"
EVALUATION_DATA: Final = "Evaluation data"
LIBRARIES: Final = "Supporting libraries and tools"
DATASETS: Final = "Datasets"
PREPROCESSING: Final = "Data preprocessing code"
INTERMEDIATE: Final = "Model parameters (Intermediate)"
PAPER: Final = "Research paper"
METADATA: Final = "Model metadata"
SAMPLES: Final = "Sample model outputs"

PARTS: Final = {
    each.name: each
    for each in (
        _part(ARCHITECTURE, "code", 3),
        _part(PARAMETERS, "data code", 3),
        _part(CARD, "document code", 3),
        _part(DATA_CARD, "document code", 3),
        _part(REPORT, "document code", 3),
        _part(RESULTS, "document code", 3),
        _part(SAMPLES, "document data code", 3, is_required=False),
        _part(TRAINING_CODE, "code", 2),
        _part(INFERENCE_CODE, "code", 2),
        _part(EVALUATION_CODE, "code", 2),
        _part(EVALUATION_DATA, "data", 2),
        _part(LIBRARIES, "code", 2, is_required=False),
        _part(DATASETS, "data code document", 1),
        _part(PREPROCESSING, "code", 1),
        _part(INTERMEDIATE, "data code", 1),
        _part(PAPER, "document", 1),
        _part(METADATA, "data", 1, is_required=False),
    )
}
"""By name, as the public tool's files write it. INTERMEDIATE fits what PARAMETERS fits, which the tool's own table
leaves out."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of what a class asks for, lower classes included, counts."""

    have: int
    of: int
    missing: tuple[str, ...]
    """Required, and not there."""
    unlicensed: tuple[str, ...]
    invalid: tuple[str, ...]
    """Required, there, and under a licence that is not open."""

    @property
    def is_met(self) -> bool:
        """All of it counts."""
        return self.have == self.of


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules give."""

    classes: Mapping[Class, Progress]
    """By themselves: a lower class that is not met does not zero these."""
    unlicensed: tuple[str, ...]
    invalid: tuple[str, ...]
    """Of all components that are there, optional ones too."""
    unfit: tuple[str, ...]
    """Open, and under a licence of another type than the component's own."""

    @property
    def best(self) -> Class:
        """The highest class that is met with all below it."""
        met: Class = 0
        for each in CLASSES:
            if not self.classes[each].is_met:
                break
            met = each
        return met

    def percent(self, of_class: Class) -> float:
        """As the public tool prints it: 0 where a lower class is not met."""
        lower = [each for each in CLASSES if each > of_class]
        if not all(self.classes[each].is_met for each in lower):
            return 0.0
        return 100 * self.classes[of_class].have / self.classes[of_class].of


def evaluate(licences: Mapping[str, str | None]) -> Reading:
    """Grade a model. licences: name of each component that is there -> its licence's SPDX id; None: it has none.

    Names that the framework does not know count for nothing.
    """
    there = {name: licence for name, licence in licences.items() if name in PARTS}
    opened = {
        name for name, licence in there.items() if licence is not None and terms(licence).is_open
    }
    unlicensed = tuple(name for name in PARTS if name in there and there[name] is None)
    invalid = tuple(name for name in there if there[name] is not None and name not in opened)
    unfit = tuple(
        name for name in PARTS if name in opened and PARTS[name].type not in _types(there[name])
    )
    classes: dict[Class, Progress] = {each: _progress(each, there, opened) for each in CLASSES}
    return Reading(classes, unlicensed, tuple(sorted(invalid)), unfit)


def required(of_class: Class) -> tuple[str, ...]:
    """What a class asks for, with all that the lower ones do."""
    return tuple(
        name for name, part in PARTS.items() if part.is_required and part.of_class >= of_class
    )


def _progress(of_class: Class, there: Mapping[str, str | None], opened: set[str]) -> Progress:
    asked = set(required(of_class))
    if REPORT not in opened and PAPER in there:
        asked = asked - {REPORT} | {PAPER}
    names = [name for name in PARTS if name in asked]
    return Progress(
        have=len(asked & opened),
        of=len(asked),
        missing=tuple(name for name in names if name not in there),
        unlicensed=tuple(name for name in names if name in there and there[name] is None),
        invalid=tuple(
            name
            for name in names
            if name in there and there[name] is not None and name not in opened
        ),
    )


def _types(licence: str | None) -> frozenset[Type]:
    return terms(licence).types if licence is not None else frozenset()
