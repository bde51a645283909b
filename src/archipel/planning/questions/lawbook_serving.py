"""The laws of running models that a sheet's formulas may call: memory and speed, owning, cascades, specialists.

A law of specialists takes their fields after size and compute, in the order of `specialist_fields`, and the five
constants of a fit last.
"""

from collections.abc import Callable

from archipel.planning.formula import Laws
from archipel.planning.laws import cascade, memory, owning, roofline, specialists
from archipel.planning.laws.scaling import Fit
from archipel.planning.laws.specialists import Fields
from archipel.planning.quantity import Numbers
from archipel.planning.questions.calling import Law, law

_PRICE, _PEAK = "USD/Mtoken", "FLOP/(s*accelerator)"


def _in_fields(compute: Callable[..., Numbers], result: str) -> Law:
    """A law of a size and a compute in fields: the base takes what the specialists leave."""

    def fielded(*given: Numbers) -> Numbers:
        count, transfer, factor, part, accuracy, inside = given[2:8]
        left = specialists.base_share(count, part)
        fields = Fields(count, transfer, factor, left, accuracy, inside)
        return compute(*given[:2], fields, Fit(*given[8:]))

    fielded.__name__ = f"specialists_{compute.__name__}"
    return law(fielded, ["param", "FLOP", *"111111", "nat/token", *"1111"], result)


SERVING: Laws = {
    "params_of_shape": law(memory.params_of_shape, ["1", "1", "1"], "param"),
    "width_of_layers": law(memory.width_of_layers, ["param", "1"], "1"),
    "layers_of_width": law(memory.layers_of_width, ["param", "1"], "1"),
    "accelerators_to_hold": law(
        memory.least_accelerators, ["byte", "byte/accelerator", "byte/accelerator"], "accelerator"
    ),
    "kv_bytes_per_token": law(roofline.kv_bytes_per_token, ["1", "1", "1", "byte"], "byte/token"),
    "most_streams": law(roofline.most_streams, ["byte", "byte/token", "token"], "1"),
    "params_that_fit": law(roofline.largest_params, ["byte", "byte/param"], "param"),
    "touched_share": law(roofline.touched_share, ["param", "param", "1", "1"], "1"),
    "padding_params": law(roofline.padding_params, ["param", "token", "token"], "param"),
    "mixture_share": law(roofline.mixture_share, ["1", _PEAK, _PEAK], "1"),
    "memory_seconds": law(roofline.memory_seconds, ["byte", "byte/s", "1"], "s"),
    "compute_seconds": law(roofline.compute_seconds, ["param", "1", "FLOP/s", "1"], "s"),
    "step_seconds": law(roofline.step_seconds, ["s", "s", "1", "s"], "s"),
    "prompt_seconds_per_token": law(
        roofline.prompt_seconds_per_token, ["param", "1", "token", "FLOP/s", "1"], "s/token"
    ),
    "balanced_streams": law(roofline.balanced_streams, ["byte/param", "FLOP/s", "byte/s"], "1"),
    "mixed_price": law(owning.mixed_price, [_PRICE, _PRICE, "token", "token"], _PRICE),
    "break_even": law(owning.break_even, ["USD/day", _PRICE, _PRICE], "Mtoken/day"),
    "cascade_cost": law(cascade.cascade_cost, [_PRICE, _PRICE, "1"], _PRICE),
    "router_cost": law(cascade.router_cost, [_PRICE, _PRICE, "1"], _PRICE),
    "saving": law(cascade.saving, [_PRICE, _PRICE], "1"),
    "recovered": law(cascade.recovered, ["1", "1"], "1"),
    "largest_escalation": law(cascade.largest_escalation, [_PRICE, _PRICE], "1"),
    "specialist_params": _in_fields(specialists.best_params, "param"),
    "specialist_loss": _in_fields(specialists.together_loss, "nat/token"),
}
