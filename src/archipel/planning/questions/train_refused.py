"""What `plan train` says of a run that no size can meet: only options that were given, and what would do."""

import math

from archipel.planning.laws import scaling
from archipel.planning.mistakes import Impossible
from archipel.planning.quantity import Quantity
from archipel.planning.questions.bounds import spoken
from archipel.planning.questions.train_asked import Asked
from archipel.planning.questions.train_fit import FitQ
from archipel.planning.questions.train_fleet import centre

NEAR = 1.01
"""Above the irreducible loss by this factor a loss can be planned for."""


def too_small(asked: Asked, fit: FitQ, sizes: tuple[float, float]) -> Impossible:
    """A quality, or data, that suits a model below the least worth planning; `sizes` are it and the least."""
    params, least = sizes
    plain = fit.central()
    flop = scaling.flop_where_optimal(least, plain)
    suits = f"that suits a model of {params:,.0f} parameters, fewer than {least:,.0f}"
    if asked.loss is not None:
        most = scaling.best_loss(flop, plain)
        return Impossible(f"--loss {centre(asked.loss):g}: {suits}; give at most {most:.3g}")
    if asked.like is not None:
        return Impossible(f"--like {centre(asked.like):g}: {suits}; give at least {least:,.0f}")
    tokens = centre(asked.tokens) if asked.tokens is not None else 0.0
    enough = scaling.optimal_tokens(flop, plain)
    return Impossible(
        f"--tokens {spoken(tokens)}: {suits}; give more --tokens, about {enough:.2g}, or --params"
    )


def out_of_reach(asked: Asked, fit: FitQ, goal: Quantity | None) -> Impossible:
    """A loss that the given size, or the given data, never reaches."""
    plain = fit.central()
    wanted = "" if goal is None else f"a loss of {centre(goal):.4g}"
    if asked.like is not None:
        wanted = f"the quality of --like {centre(asked.like):g} ({wanted})"
    if asked.params is not None:
        best = plain.E + scaling.params_term(centre(asked.params), plain)
        what = f"--params {centre(asked.params):g}"
    elif asked.tokens is not None:
        best = plain.E + scaling.tokens_term(centre(asked.tokens), plain)
        what = f"--tokens {centre(asked.tokens):g}"
    else:
        return _at_no_size(asked, plain.E)
    if not math.isfinite(best) or not wanted:
        return _at_no_size(asked, plain.E)
    return Impossible(
        f"{what} and {wanted}: it never goes below {best:.4g} nat per token under {fit.name}; "
        f"raise {what.partition(' ')[0]} or the loss"
    )


def _at_no_size(asked: Asked, floor: float) -> Impossible:
    """Where no number comes out: too near what no model removes, or constants that allow no size."""
    if asked.loss is not None:
        return Impossible(
            f"--loss {centre(asked.loss):g}: too near the irreducible loss of {floor:g} nat per token; "
            f"give at least {floor * NEAR:.3g}"
        )
    return Impossible(
        "no size and no number of tokens come out of this; look at the constants that --set or --table "
        "changed, or give --params and --tokens"
    )
