"""Which devices, in which order, make which pipelines: all ways are looked at for few devices, good ones for many."""

from archipel.serve.pool.fitting import Effort
from archipel.serve.pool.laying import Aim, Laid, Measures
from archipel.serve.pool.narrow import narrow_pipelines
from archipel.serve.pool.wide import wide_pipelines

NARROW_DEVICES = 8


def pipelines(measures: Measures, aim: Aim, effort: Effort) -> list[Laid]:
    """The pipelines to make, best first; none: it does not fit."""
    if len(measures.layer_s) <= NARROW_DEVICES:
        return narrow_pipelines(measures, aim, effort)
    return wide_pipelines(measures, aim, effort)
