"""How many tokens to guess, from how many of the last ones stood.

A guessed row costs `PRICE` of a step, and is worth it while the chance that all up to it stand, chance ** place,
is above that, times the sequences that share the step, and what the guess itself costs. Laws: pure; who guesses in vain guesses one token in
`REST` steps, so that what guessing can cost is bounded.
"""

import math

PRICE = 0.2
"""Of a row, in steps of one sequence: of a 135M model 0.09 was measured in float32 behind 100 positions, and 0.22 in
bfloat16 behind 1,000."""
KEPT = 0.8
"""What was known counts so much for each token that is learnt of."""
WEIGHT = 4.0
"""Tokens that the first chance stands for."""
REST = 32
MOST = 63


class Pace:
    """Of one sequence and one source of guesses."""

    def __init__(self, chance: float) -> None:
        """chance: that a token stands, as long as none was seen."""
        self._stood, self._fell = WEIGHT * chance, WEIGHT * (1 - chance)
        self._rested = 0

    @property
    def chance(self) -> float:
        """That a guessed token stands where those before it did."""
        return self._stood / (self._stood + self._fell)

    def length(self, running: int, own: float = 0.0) -> int:
        """Tokens to guess now, when so many sequences share a step; own: what a guess costs itself, in steps."""
        price, chance = PRICE * running + own, self.chance
        if price >= 1:
            return 0
        if chance > price:
            worth = math.log(price) / math.log(chance) if chance < 1 else MOST
            return min(MOST, int(worth))
        self._rested += 1
        if self._rested < REST:
            return 0
        self._rested = 0
        return 1

    def tell(self, guessed: int, stood: int) -> None:
        """So many of the guessed tokens stood."""
        kept = KEPT**stood
        self._stood, self._fell = self._stood * kept + (1 - kept) / (1 - KEPT), self._fell * kept
        if stood < guessed:
            self._stood, self._fell = self._stood * KEPT, self._fell * KEPT + 1
