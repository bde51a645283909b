"""A supervised task that two small layers learn at once: say the prompt's first letter again."""

import random

EOS = 2


def repeat_first(index):
    rng = random.Random(index)
    prompt = tuple(rng.randrange(3, 12) for _ in range(rng.randrange(1, 4)))
    return prompt, (prompt[0], EOS)
