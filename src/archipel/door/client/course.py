"""A course of training: which examples a step sees, how fast it learns, and which examples are held out.

Law: everything is a function of the course and a step's number, so a course that was cut goes on as if it had not been.
"""

import random
from dataclasses import dataclass

FINAL_FRACTION = 0.05
"""The last fifth of the steps goes down to this share of the learning rate, as in `training.sft`."""
DECAY_PART = 5


@dataclass(frozen=True)
class Course:
    """Settings that the result follows from, beside the examples and the model."""

    steps: int
    batch: int
    """Examples of one step."""
    learning_rate: float
    rank: int
    seed: int
    """Of the adapter's first weights and of the order of examples."""

    @property
    def decay_steps(self) -> int:
        """How many of the last steps learn more and more slowly."""
        return self.steps // DECAY_PART

    def rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        done = step + 1 - (self.steps - self.decay_steps)
        if done <= 0:
            return self.learning_rate
        return self.learning_rate * (1.0 - done / self.decay_steps * (1.0 - FINAL_FRACTION))

    def chosen(self, step: int, num_examples: int) -> tuple[int, ...]:
        """Places of a step's examples: all of them come once before any comes again, each time in another order."""
        first = step * self.batch
        places = []
        for index in range(first, first + self.batch):
            epoch, place = divmod(index, num_examples)
            places.append(_order(self.seed, epoch, num_examples)[place])
        return tuple(places)


def _order(seed: int, epoch: int, num_examples: int) -> list[int]:
    order = list(range(num_examples))
    random.Random(f"order {seed} {epoch}").shuffle(order)  # noqa: S311  no secret
    return order


def held_out(num_examples: int, how_many: int, seed: int) -> frozenset[int]:
    """Places of examples that are never learned from."""
    chosen = random.Random(f"held out {seed}").sample(range(num_examples), how_many)  # noqa: S311
    return frozenset(chosen)


def steps_of(epochs: float, num_examples: int, batch: int) -> int:
    """Steps that see every example so many times, the last one filled up."""
    return max(1, -(-round(epochs * num_examples) // batch))
