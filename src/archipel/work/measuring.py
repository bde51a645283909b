"""Accepted rollouts of a run in floating point, measured against the limits that its opening cites.

One prefill of the claimed tokens under the claimed version shows what the run's noise selects and how likely each
token was (`proofs.forced`), and, where the limits ask for it, how far the activations are from the fingerprints that
came with them (`proofs.printed`). Law: an honest answer exceeds a limit with no more than the chance that the calibration
states; what ends where it should not is told as a difference, which no arithmetic excuses.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from archipel.engine.exact.replay import Difference as Found
from archipel.engine.exact.replay import Recorded, first_ending
from archipel.engine.protocol import WrongWeights
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder
from archipel.proofs.citing import in_nano
from archipel.proofs.forced import NAMES, Checked, Forcing, statistics
from archipel.proofs.printed import printed
from archipel.records.engine_classes import precision_of
from archipel.records.fingerprints import FIGURES
from archipel.records.kinds.audit import Difference
from archipel.records.measures import NANO, Measured, Measures, beyond
from archipel.records.rollouts import Rollout
from archipel.work.policies import Policy
from archipel.work.programme import Finding

CALIBRATION = "calibration.json"
"""The record beside the run's first weights, as `archipel proofs calibrate --out` writes it."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Measuring:
    """Measures results of the version whose weights were taken last."""

    def __init__(self, config: DecoderConfig, engine_class: str, measures: Measures) -> None:
        """engine_class: what the run is sampled by; its precision is the verifier's."""
        self._decoder = Decoder(config).to(DTYPES[precision_of(engine_class)])
        self._measures, self._held = measures, ""

    def use(self, policy: Policy) -> None:
        """Take the weights of a version.

        Raises:
            WrongWeights: they are not those of this architecture.
            WorkFailed: an adapter whose base is not at hand.
        """
        if self._held == policy.manifest.state:
            return
        self._held = ""
        try:
            self._decoder.load_state_dict(dict(policy.whole()))
        except RuntimeError as error:
            raise WrongWeights(f"{error!s:.300}") from None
        self._held = policy.manifest.state

    def measure(
        self, recorded: Sequence[Recorded], progress: Callable[[int], None] = lambda done: None
    ) -> Finding:
        """What an answer, all of its groups together, comes to.

        Raises:
            BadClaim: tokens, log-probabilities or lengths that no sampling gives.
            BadFingerprint: fingerprints are asked for, and none came, or none of so many tokens.
        """
        positions = sum(len(one.tokens) for each in recorded for one in each.rollouts.values())
        ended = first_ending(recorded)
        if ended is not None:
            return Finding(positions, told(ended))
        forcing, checked = Forcing(self._decoder), list[Checked]()
        for each in recorded:
            checked += forcing.check(each)
            progress(sum(len(one.excess) for one in checked))
        found = statistics(checked)
        if found.drawn < self._measures.least_drawn:
            return Finding(positions, cannot="thin")
        limits = self._measures.limits
        figures = {name: in_nano(getattr(found, name)) for name in limits if name in NAMES}
        worst = (0, 0)
        if self._measures.fingerprints:
            prints = printed(recorded, checked)
            figures |= {name: in_nano(getattr(prints, name)) for name in limits if name in FIGURES}
            worst = prints.worst
        measured = Measured(drawn=found.drawn, figures=figures)
        over, difference = beyond(measured, limits), None
        if over and over[0] in FIGURES:
            difference = _far(recorded, worst, over[0], measured, self._measures)
        elif over:
            difference = _worst(recorded, checked, over, self._measures)
        return Finding(positions, difference, measured=measured)


def told(found: Found) -> Difference:
    """As it stands in a record."""
    return Difference(
        group=int(found.key),
        rollout=found.rollout,
        position=found.position,
        what=found.what,
        recorded=found.recorded,
        recomputed=found.recomputed,
    )


def _worst(
    recorded: Sequence[Recorded], checked: Sequence[Checked], over: Sequence[str], by: Measures
) -> Difference:
    """The token that is furthest away, by the first figure that exceeds its limit."""
    name = over[0]
    is_drawn = not name.startswith("logprob")
    sizes = [each.excess if is_drawn else np.abs(each.differences) for each in checked]
    row = max(range(len(sizes)), key=lambda at: float(sizes[at].max(initial=0.0)))
    at = int(sizes[row].argmax())
    claims = [(each, number) for each in recorded for number in each.rollouts]
    asked, number = claims[row]
    rollout = asked.rollouts[number]
    place = _places(rollout)[at]
    own = rollout.logprobs[place]
    limit = f"{name} {by.limits.get(name, 0) / NANO:.3g} at most"
    return Difference(
        group=int(asked.request.key),
        rollout=number,
        position=place,
        what="token" if is_drawn else "log-probability",
        recorded=f"{rollout.tokens[place]}, {sizes[row][at]:.3g} from the noise"
        if is_drawn
        else f"{own:.6g}",
        recomputed=limit
        if is_drawn
        else f"{own - float(checked[row].differences[at]):.6g} ({limit})",
    )


def _far(
    recorded: Sequence[Recorded],
    worst: tuple[int, int],
    name: str,
    measured: Measured,
    by: Measures,
) -> Difference:
    """The fingerprint that is furthest away, where tokens and log-probabilities are within their limits."""
    row, position = worst
    group, number = [(each.request.key, one) for each in recorded for one in each.rollouts][row]
    return Difference(
        group=int(group),
        rollout=number,
        position=position,
        what="fingerprint",
        recorded=f"{name} {measured.figures[name] / NANO:.3g}",
        recomputed=f"{name} {by.limits[name] / NANO:.3g} at most",
    )


def _places(rollout: Rollout) -> list[int]:
    """Positions of the tokens that the model sampled."""
    if rollout.sampled is None:
        return list(range(len(rollout.tokens)))
    return [at for at, flag in enumerate(rollout.sampled) if flag]
