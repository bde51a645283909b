"""From a record of a calibration to what a run's opening cites: limits and sums in integers (`records.measures`).

Rounding is in favour of whom it is held against: limits and borders up, weights down, what accuses up. The chance of
a false accusation is that of `sequential`, shared among the tests of a run.
Law: pure; whoever has the record finds the same numbers, but for the last digit of a logarithm.
"""

import math
from collections.abc import Mapping

from archipel.proofs.binomial import lower
from archipel.proofs.record import LEAST_DRAWN, BadCalibration, Calibration, Pair, Watch
from archipel.proofs.sequential import SequentialTest
from archipel.records.canonical import sha256_digest
from archipel.records.engine_classes import MEASURED, precision_of, prover_of
from archipel.records.fingerprints import FIGURES as FINGERPRINTS
from archipel.records.measures import MAX_TESTS, MOST, NANO, Measures, SumTest

MICRO = 1_000_000
AUDITS_A_YEAR = 100_000
"""Of one node in one run, at most; a node with more is accused falsely that much more often."""
CONFIDENCE = 0.95
FULL_TIME = 0.9
"""An answer of a cheat in all of its work exceeds a limit this often, the first test assumes; the second assumes the
root of an honest answer's chance, and so notices a cheat in a small part of its work, later."""


def measures_of(
    data: bytes, engine_class: str, false_accusations: float, *, fingerprints: bool = False
) -> Measures:
    """What a run of this class cites of the record `data`.

    false_accusations: of an honest node in a year of `AUDITS_A_YEAR` audits, at most. fingerprints: whether answers
    bring those of their activations.

    Raises:
        BadCalibration: no record, not of this class, or a pair that was refused, or that is one without fingerprints.
    """
    pair = pair_of_class(data, engine_class, fingerprints=fingerprints)
    limits = {
        name: in_nano(most)
        for name, most in pair.thresholds.items()
        if fingerprints or name not in FINGERPRINTS
    }
    honest = min(max(pair.false_at_most, 1e-9), 0.5)
    events: list[tuple[str | None, float, float, float]] = [
        (None, 0.0, honest, max(FULL_TIME, (1 + honest) / 2)),
        (None, 0.0, honest, math.sqrt(honest)),
    ]
    events += [
        (each.figure, each.border, max(each.honest, 1e-9), each.cheat)
        for each in watched_of(pair, fingerprints=fingerprints).values()
        if max(each.honest, 1e-9) < each.cheat < 1
    ]
    events = list(dict.fromkeys(events))[:MAX_TESTS]
    each_may = false_accusations / len(events)
    return Measures(
        calibration=sha256_digest(data),
        limits=limits,
        least_drawn=LEAST_DRAWN,
        apart=True,
        tests=tuple(_test(*event, each_may) for event in events),
    )


def pair_of_class(data: bytes, engine_class: str, *, fingerprints: bool) -> Pair:
    """The pair that answers of this class are judged by.

    Raises:
        BadCalibration: see `measures_of`.
    """
    if engine_class not in MEASURED:
        raise BadCalibration(
            f"answers of {engine_class} cannot be measured; those of {', '.join(sorted(MEASURED))} can"
        )
    precision = precision_of(engine_class)
    prover = prover_of(engine_class.partition("-")[0], precision)
    record = Calibration.from_bytes(data)
    pair = record.pair(prover, precision)
    if not pair.usable:
        raise BadCalibration(
            f"prover {prover}, verifier {precision}: honest and dishonest overlap "
            f"({', '.join(pair.overlaps)}); calibrate again, with more tokens or --sequential"
        )
    if fingerprints and not any(name in pair.thresholds for name in FINGERPRINTS):
        raise BadCalibration("it knows no fingerprints of answers; calibrate again")
    passing = set(pair.blind or ()) - set(record.left_to_sums)
    if passing and not fingerprints:
        raise BadCalibration(
            f"without fingerprints an answer of {', '.join(sorted(passing))} passes: say fingerprints = true in [audit], "
            "or calibrate again with --sequential"
        )
    return pair


def overlaps_of(pair: Pair, *, fingerprints: bool) -> tuple[str, ...]:
    """Cheats of which an answer passed."""
    return pair.overlaps if fingerprints or pair.blind is None else pair.blind


def watched_of(pair: Pair, *, fingerprints: bool) -> Mapping[str, Watch]:
    """How the sums tell cheats that single answers do not, by the figures that there are."""
    found = pair.watched
    if not fingerprints and pair.watched_blind is not None:
        found = pair.watched_blind
    return {
        name: each
        for name, each in found.items()
        if fingerprints or each.figure not in FINGERPRINTS
    }


def audits_needed(pair: Pair, name: str, *, fingerprints: bool, may: float = 0.01) -> float:
    """About how many audits accuse who cheats so in all of its work, by the lower bounds of how often that showed;
    infinite: none do.
    """
    honest, caught = min(max(pair.false_at_most, 1e-9), 0.5), pair.cheats.get(name)
    found = list[float]()
    if caught is not None:
        plain = caught.caught if caught.plainly is None else caught.plainly
        odd = lower(caught.caught if fingerprints else plain, caught.answers, CONFIDENCE)
        for cheat in (max(FULL_TIME, (1 + honest) / 2), math.sqrt(honest)):
            found.append(SequentialTest(honest, cheat, AUDITS_A_YEAR, may).audits_at(odd))
    watch = watched_of(pair, fingerprints=fingerprints).get(name)
    if watch is not None and max(watch.honest, 1e-9) < watch.cheat < 1:
        test = SequentialTest(max(watch.honest, 1e-9), watch.cheat, AUDITS_A_YEAR, may)
        found.append(test.audits_needed())
    return min(found, default=math.inf)


def _test(figure: str | None, border: float, honest: float, cheat: float, may: float) -> SumTest:
    test = SequentialTest(honest, cheat, AUDITS_A_YEAR, may)
    return SumTest(
        figure=figure,
        border_nano=None if figure is None else in_nano(border),
        odd_micro=max(1, math.floor(test.weight(True) * MICRO)),
        even_micro=math.floor(test.weight(False) * MICRO),
        accuses_micro=math.ceil(test.border * MICRO),
    )


def in_nano(value: float) -> int:
    """Billionths, rounded up; what is no number is as much as can be."""
    if not math.isfinite(value) or value * NANO > MOST:
        return MOST
    return max(0, math.ceil(value * NANO))


def is_cited(said: Measures, data: bytes, engine_class: str) -> bool:
    """Whether a run's opening says of this record what follows from it; how often it may err is the run's own."""
    try:
        own = measures_of(data, engine_class, 0.01, fingerprints=said.fingerprints)
    except BadCalibration:
        return False
    pairs = zip(own.tests, said.tests, strict=False)
    return (
        (own.calibration, own.limits, own.least_drawn) == (said.calibration, said.limits, said.least_drawn)
        and len(own.tests) == len(said.tests)
        and all(_is_same(mine, theirs) for mine, theirs in pairs)
    )  # fmt: skip


def _is_same(one: SumTest, other: SumTest) -> bool:
    near = abs(one.odd_micro - other.odd_micro) <= 1 and abs(one.even_micro - other.even_micro) <= 1
    return near and (one.figure, one.border_nano) == (other.figure, other.border_nano)
