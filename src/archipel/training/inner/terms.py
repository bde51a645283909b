"""The terms of inner steps: what all members of a run share, so that anybody can make a step again.

Law: whatever moves a bit of the result is a field here, or an argument of the work; nothing is read elsewhere.
"""

from dataclasses import dataclass
from typing import Literal

from archipel.training.schedule import learning_rate

OptimiserName = Literal["adamw", "muon"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class InnerTerms:
    """How a member of a run trains."""

    total_steps: int
    """Inner steps of the whole run, over which the schedule runs."""
    batch: int
    """Windows of one inner step."""
    sequence_length: int
    """Inputs of a window, which holds one token more."""
    learning_rate: float
    """Peak rate, reached after warm-up; with muon that of the matrices inside the layers."""
    optimiser: OptimiserName = "adamw"
    rest_factor: float = 1.0
    """With muon: rate of all that AdamW moves beside it, as a multiple of `learning_rate`."""
    warmup_steps: int = 0
    schedule: Schedule = "cosine"
    final_fraction: float = 0.1
    """The schedule ends at this share of the peak."""
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    momentum: float = 0.9
    """Of muon."""
    weight_decay: float = 0.1
    """Decoupled, of matrices; norms and biases keep their scale."""
    clip_norm: float = 1.0
    """Bound on the norm of the whole gradient."""
    state: Literal["kept", "fresh"] = "kept"
    """Whether the optimiser goes on from the member's last work, or begins anew with each."""
    micro_batch_tokens: int = 16_384
    """So many inputs go through the network at a time; another number adds gradients up in another order."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch", "sequence_length", "micro_batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected at least 0 and below 1: nothing new would count"
                )
        if self.optimiser not in ("adamw", "muon") or self.state not in ("kept", "fresh"):
            raise ValueError(
                f"optimiser {self.optimiser!r:.40}, state {self.state!r:.40}; expected adamw or muon, kept or fresh"
            )

    def rate(self, step: int) -> float:
        """Learning rate of the run's inner step `step`, counted from 0; after the last step, that of the last."""
        return learning_rate(self, min(step, self.total_steps - 1), self.total_steps)

    @property
    def windows_at_once(self) -> int:
        """Of a step's windows, so many go through the network together."""
        return max(1, self.micro_batch_tokens // self.sequence_length)
