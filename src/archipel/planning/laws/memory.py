"""What one accelerator has to hold while training, part by part, and how many it takes to hold it.

States: Rajbhandari et al. 2019 (ZeRO, arXiv 1910.02054), section 3.1 and 5: weights, gradients and optimiser
states, of which stage 1 shards the optimiser over the data-parallel accelerators, stage 2 also the
gradients, stage 3 (FSDP) also the weights. Activations: Korthikanti et al. 2022 (arXiv 2205.05198), table 2:
per layer s·b·h·(34 + 5·a·s/h) bytes in 16-bit training, all divided by the tensor-parallel degree t with
sequence parallelism; selective recomputation or flash attention drops the quadratic part, full
recomputation keeps 2·s·b·h. Logits are held in fp32: 4·s·b·v bytes. All results in bytes per accelerator.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Numbers = Any
Recompute = Literal["none", "selective", "full"]
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Shape:
    """A decoder's shape; each a float or an array."""

    layers: Numbers
    width: Numbers
    heads: Numbers
    vocabulary: Numbers


@dataclass(frozen=True)
class Split:
    """How a model is spread: sharded over `data` accelerators at a ZeRO stage, cut into `tensor` parts."""

    data: Numbers
    tensor: Numbers = 1.0
    stage: int = 3


def shape_of(
    params: Numbers, width_per_layer: Numbers, head_width: Numbers, vocabulary: Numbers
) -> Shape:
    """A usual shape of this size: 12·layers·width² parameters (Kaplan et al. 2020) at a given aspect."""
    layers = np.cbrt(params / (12.0 * width_per_layer**2))
    width = width_per_layer * layers
    return Shape(layers, width, width / head_width, vocabulary)


def params_of_shape(layers: Numbers, width: Numbers, vocabulary: Numbers) -> Numbers:
    """Parameters of a usual decoder: 12·layers·width² and an embedding at both ends."""
    return 12.0 * layers * width**2 + 2.0 * vocabulary * width


def width_of_layers(params: Numbers, layers: Numbers) -> Numbers:
    """The width at which so many layers hold the parameters, embeddings left out."""
    return np.sqrt(params / (12.0 * layers))


def layers_of_width(params: Numbers, width: Numbers) -> Numbers:
    """The layers that hold the parameters at a width, embeddings left out."""
    return params / (12.0 * width**2)


def weights(params: Numbers, byte_per_param: Numbers, split: Split) -> Numbers:
    """Weights that stay on one accelerator."""
    return byte_per_param * params / split.tensor / _over(split, 3)


def gradients(params: Numbers, byte_per_param: Numbers, split: Split) -> Numbers:
    """Gradients that stay on one accelerator."""
    return byte_per_param * params / split.tensor / _over(split, 2)


def optimiser(params: Numbers, byte_per_param: Numbers, split: Split) -> Numbers:
    """Master weights and moments that stay on one accelerator."""
    return byte_per_param * params / split.tensor / _over(split, 1)


def gathered(params: Numbers, layers: Numbers, byte_per_param: Numbers, split: Split) -> Numbers:
    """Layers that stage 3 brings together to compute on: the one in use and the next one's weights."""
    if split.stage < 3:
        return 0.0 * params
    alone = np.minimum(split.data, 2.0) - 1.0  # nothing is gathered on one accelerator
    return 2.0 * byte_per_param * params / layers / split.tensor * alone


def activations(
    shape: Shape, sequence: Numbers, micro_batch: Numbers, split: Split, recompute: Recompute
) -> Numbers:
    """What the backward pass needs of one micro-batch."""
    unit = sequence * micro_batch * shape.width * shape.layers / split.tensor
    if recompute == "full":
        return unit * 2.0 + sequence * micro_batch * shape.width * 34.0 / split.tensor
    if recompute == "selective":
        return unit * 34.0
    return unit * (34.0 + 5.0 * shape.heads * sequence / shape.width)


def logits(shape: Shape, sequence: Numbers, micro_batch: Numbers, split: Split) -> Numbers:
    """The last layer's scores over the vocabulary, in fp32."""
    return 4.0 * sequence * micro_batch * shape.vocabulary / split.tensor


def least_accelerators(states: Numbers, fixed: Numbers, memory: Numbers) -> Numbers:
    """The accelerators over which `states` must be sharded so that a share and `fixed` fit; inf if never."""
    room = memory - fixed
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(room > 0, np.maximum(1.0, np.ceil(states / room)), np.inf)


def _over(split: Split, stage: int) -> Numbers:
    """Accelerators over which a part is sharded that is sharded from `stage` on."""
    return split.data if split.stage >= stage else 1.0
