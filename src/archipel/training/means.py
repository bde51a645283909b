"""What the sum of a step's token losses is divided by, and what each token counts for in it.

| mean_over | a token's weight | the divisor | source |
|---|---|---|---|
| tokens | 1 | valid tokens | DAPO, arXiv 2503.14476: a long completion counts as much as it is long |
| sequences | 1 / valid tokens of its completion | completions with a valid token | GRPO, arXiv 2402.03300; GSPO |
| constant | 1 | completions x `max_new_tokens` | Dr. GRPO, arXiv 2503.20783: what was sampled moves no scale |

Groups that teach nothing are in no divisor but the constant one, which counts all that were sampled. An episode of
several samples (`records.samples`) is one completion.
"""

from collections.abc import Sequence
from dataclasses import replace

from archipel.training.branches import num_valid
from archipel.training.packing import Tree, count_valid


def weighed(trees: Sequence[Tree]) -> tuple[list[Tree], int]:
    """The trees with each token weighed so that every completion counts alike, and how many completions do."""
    counted, divisor = [], 0
    for tree in trees:
        numbers = [num_valid(branch) for branch in tree.branches]
        pairs = list(zip(tree.branches, numbers, strict=True))
        divisor += sum(number > 0 and branch.stands for branch, number in pairs)
        branches = tuple(
            replace(branch, weight=1.0 / max(1, branch.together or number))
            for branch, number in pairs
        )
        counted.append(replace(tree, branches=branches))
    return counted, divisor


def mean_over(name: str, trees: list[Tree], constant: float) -> tuple[list[Tree], float]:
    """The trees as they count, and the divisor. constant: completions of the step x `max_new_tokens`."""
    if name == "sequences":
        return weighed(trees)
    return trees, constant if name == "constant" else count_valid(trees)
