"""The laws of training that a sheet's formulas may call: loss and size, repeated data, learning curves, memory.

A law of a fit takes the fit's five constants last, in the order of `scaling.Fit`; one of repeated data the two
decays before them.
"""

from collections.abc import Callable, Sequence

from archipel.planning.formula import Laws
from archipel.planning.laws import (
    attention,
    inference_aware,
    memory,
    repeated_data,
    rl_curve,
    scaling,
    utilisation,
)
from archipel.planning.laws.memory import Recompute, Split, shape_of
from archipel.planning.laws.repeated_data import Decay
from archipel.planning.laws.scaling import Fit
from archipel.planning.quantity import Numbers, Quantity, derive
from archipel.planning.questions.calling import Law, figure_of, held, law

_EACH = "byte/accelerator"
_LOSS = "nat/token"


def _anchored(given: Sequence[Quantity]) -> Quantity:
    """A coefficient that follows its exponent: the term at the centre of the fitted data stays what it is.

    Its own interval would count the same doubt twice; an exponent without one leaves it as it is.
    """
    coefficient, exponent, centre = held(given[0]), given[1], given[2]
    if figure_of(exponent).exact:
        return given[0]
    printed = figure_of(exponent).value
    inputs = [(coefficient, "1"), (exponent, "1"), (centre, str(centre.unit))]
    text = f"{coefficient.name} × {centre.name}^({exponent.name} − {printed:g})"
    return derive(
        "", "1", inputs, lambda a, moved, at: scaling.anchored(a, printed, at, moved), text
    )


def _fitted(compute: Callable[..., Numbers], units: Sequence[str], result: str) -> Law:
    """A law of inputs in `units`, and of the five constants of a fit, which come last."""

    def of_fit(*numbers: Numbers) -> Numbers:
        return compute(*numbers[:-5], Fit(*numbers[-5:]))

    of_fit.__name__ = compute.__name__
    return law(of_fit, [*units, _LOSS, "1", "1", "1", "1"], result)


def _repeated(compute: Callable[..., Numbers], units: Sequence[str], result: str) -> Law:
    """The same with the two decays of repetition before the fit."""

    def decaying(*numbers: Numbers) -> Numbers:
        return compute(*numbers[:-3], numbers[-1], Decay(*numbers[-3:-1]))

    decaying.__name__ = compute.__name__
    return _fitted(decaying, [*units, "1", "1"], result)


def _sharded(compute: Callable[..., Numbers]) -> Law:
    """States of (parameters, bytes each) on (accelerators, tensor parallel) at a ZeRO stage."""

    def on_one(
        n: Numbers, each: Numbers, count: Numbers, tensor: Numbers, zero: Numbers
    ) -> Numbers:
        return compute(n, each, Split(count / tensor, tensor, zero))

    on_one.__name__ = compute.__name__
    return law(on_one, ["param", "byte/param", "accelerator", "1", "1"], _EACH)


def _gathered(*given: Numbers) -> Numbers:
    """Of (parameters, active ones, width per layer, bytes each, accelerators, tensor parallel, ZeRO stage)."""
    n, active, aspect, each, count, tensor, zero = given
    layers = shape_of(active, aspect, 1.0, 1.0).layers
    return memory.gathered(n, layers, each, Split(count / tensor, tensor, zero))


def _reached(peak: Numbers, n: Numbers, active: Numbers, level: Numbers, *by: Numbers) -> Numbers:
    """Utilisation of a step; the exponents come last."""
    return utilisation.utilisation(peak, n, active, level, utilisation.By(*by))


_reached.__name__ = "utilisation"


def _kept(mode: Recompute) -> Law:
    """Activations of a usual shape under a way to compute them again."""

    def kept(
        n: Numbers,
        aspect: Numbers,
        head: Numbers,
        sequence: Numbers,
        batch: Numbers,
        tensor: Numbers,
    ) -> Numbers:
        shape = shape_of(n, aspect, head, 1.0)
        return memory.activations(shape, sequence, batch, Split(1.0, tensor), mode)

    kept.__name__ = f"activations_{mode}"
    return law(kept, ["param", "1", "1", "token", "1", "1"], _EACH)


TRAINING: Laws = {
    "anchored": _anchored,
    "held": lambda given: held(given[0]),
    "loss": _fitted(scaling.loss, ["param", "token"], _LOSS),
    "optimal_params": _fitted(scaling.optimal_params, ["FLOP"], "param"),
    "optimal_tokens": _fitted(scaling.optimal_tokens, ["FLOP"], "token"),
    "best_loss": _fitted(scaling.best_loss, ["FLOP"], _LOSS),
    "flop_where_optimal": _fitted(scaling.flop_where_optimal, ["param"], "FLOP"),
    "flop_where_tokens_optimal": _fitted(scaling.flop_where_tokens_optimal, ["token"], "FLOP"),
    "flop_for_loss": _fitted(scaling.flop_for_loss, [_LOSS], "FLOP"),
    "tokens_for_loss": _fitted(scaling.tokens_for_loss, [_LOSS, "param"], "token"),
    "params_for_loss": _fitted(scaling.params_for_loss, [_LOSS, "token"], "param"),
    "dense_equivalent": law(scaling.dense_equivalent, ["param", "param", "1"], "param"),
    "tokens_at_ratio": law(scaling.tokens_at_ratio, ["FLOP", "token/param"], "token"),
    "balance": _fitted(inference_aware.balance, ["param", "token"], "1"),
    "revealed_tokens": _fitted(inference_aware.revealed_tokens, ["param", "token"], "token"),
    "params_for_loss_and_use": _fitted(
        inference_aware.params_for_loss_and_use, [_LOSS, "token"], "param"
    ),
    "params_for_budget_and_use": _fitted(
        inference_aware.params_for_budget_and_use, ["FLOP", "token"], "param"
    ),
    "params_for_tokens_and_use": _fitted(
        inference_aware.params_for_tokens_and_use, ["token", "token"], "param"
    ),
    "tokens_for_params_and_use": _fitted(
        inference_aware.tokens_for_params_and_use, ["param", "token"], "token"
    ),
    "tokens_for_budget_and_use": law(
        inference_aware.tokens_for_budget_and_use, ["FLOP", "param", "token"], "token"
    ),
    "repeated_loss": _repeated(repeated_data.repeated_loss, ["param", "token", "token"], _LOSS),
    "best_params_repeated": _repeated(repeated_data.best_params, ["FLOP", "token"], "param"),
    "effective_tokens": law(
        lambda d, u, rd, rn: repeated_data.effective_tokens(d, u, Decay(rd, rn)),
        ["token", "token", "1", "1"],
        "token",
    ),
    "pass_rate": law(
        lambda hours, *of: rl_curve.pass_rate(hours, rl_curve.Curve(*of)),
        ["accelerator*h", "1", "1", "accelerator*h", "1"],
        "1",
    ),
    "with_attention": law(
        lambda n, aspect, s: 1.0 + attention.share(s, shape_of(n, aspect, 1.0, 1.0).width),
        ["param", "1", "token"],
        "1",
    ),
    "utilisation": law(
        _reached, ["TFLOP/(s*accelerator)", "param", "param", "1", "1", "1", "1"], "1"
    ),
    "layers": law(lambda n, aspect: shape_of(n, aspect, 1.0, 1.0).layers, ["param", "1"], "1"),
    "weights": _sharded(memory.weights),
    "gradients": _sharded(memory.gradients),
    "optimiser": _sharded(memory.optimiser),
    "gathered": law(
        _gathered, ["param", "param", "1", "byte/param", "accelerator", "1", "1"], _EACH
    ),
    "activations_none": _kept("none"),
    "activations_selective": _kept("selective"),
    "activations_full": _kept("full"),
    "least_accelerators": law(memory.least_accelerators, [_EACH, _EACH, _EACH], "accelerator"),
}
