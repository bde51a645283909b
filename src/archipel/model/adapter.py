"""A low-rank adapter: trained beside a decoder's frozen weights, named, drawn, and added to them.

y = xW^T + s (xA^T)B^T with A (r, in) and B (out, r); r, s and the layers are `records.adapter.AdapterForm`.
Parts: `Adapter` (form and tensors), `adapter_shapes`, `adapt` (a decoder whose adapter alone is trained),
`trained`, `merged` (whole weights again, by the rule of docs/decisions/0024).
Law: names are those of a PEFT file; first values follow from a seed alone; the weights underneath never change.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes
from archipel.model.manifest import WrongTensors
from archipel.model.network import Decoder
from archipel.records.adapter import ALL_TARGETS, HEAD, AdapterForm, Target

PREFIX = "base_model.model."
"""What PEFT writes before the name that a layer has in its model."""
LOW, HIGH = ".lora_A.weight", ".lora_B.weight"
MERGED_AT_A_TIME = 2**16
"""Weights whose f64 sums are held at once while merging: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """Low-rank products by the names of a PEFT file: bf16, or fp32 that holds bf16 values."""

    form: AdapterForm
    state: Mapping[str, Tensor]

    def pair(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """A (r, in) and B (out, r) beside the weight `<layer>.weight`; None where there is none."""
        low = self.state.get(f"{PREFIX}{layer}{LOW}")
        return None if low is None else (low, self.state[f"{PREFIX}{layer}{HIGH}"])


def layer_names(config: DecoderConfig, form: AdapterForm) -> Iterator[str]:
    """Every linear layer that has a product, by its module's name.

    Raises:
        WrongTensors: this family has no such layer, or one for each expert.
    """
    has = single_targets(config)
    if other := [target for target in form.targets if target not in has]:
        only = f"write targets = {list(has)}" if len(has) > 1 else "train all weights instead"
        raise WrongTensors(
            f"{config.family} has no single {other[0]} that an adapter could lie beside; {only}"
        )
    for index in range(config.num_layers):
        for target in form.targets:
            if target == HEAD:
                continue
            part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            yield f"model.layers.{index}.{part}.{target}"
    if HEAD in form.targets:
        yield HEAD


def single_targets(config: DecoderConfig) -> tuple[Target, ...]:
    """Layers that an adapter could lie beside in this family."""
    return tuple(target for target in ALL_TARGETS if _is_one_layer(config, target))


def _is_one_layer(config: DecoderConfig, target: Target) -> bool:
    """False for layers that are one weight with others (Phi-3), and for those of experts."""
    if config.traits.joined:
        return target in ("o_proj", "down_proj")
    return config.experts is None or target not in ("gate_proj", "up_proj", "down_proj")


def adapter_shapes(config: DecoderConfig, form: AdapterForm) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of such an adapter."""
    weights, shapes = expected_shapes(config), dict[str, tuple[int, ...]]()
    for layer in layer_names(config, form):
        outputs, inputs = weights[_weight_name(layer, config)]
        shapes[f"{PREFIX}{layer}{LOW}"] = (form.rank, inputs)
        shapes[f"{PREFIX}{layer}{HIGH}"] = (outputs, form.rank)
    return shapes


def _weight_name(layer: str, config: DecoderConfig) -> str:
    """What lies under a layer's product: of a tied head the embedding."""
    is_tied = layer == HEAD and config.tie_embeddings
    return "model.embed_tokens.weight" if is_tied else f"{layer}.weight"


def check_adapter(
    got: Mapping[str, tuple[int, ...]], config: DecoderConfig, form: AdapterForm
) -> None:
    """Refuse names and shapes that are not those of this form over this architecture.

    Raises:
        WrongTensors: names the first few missing, unknown or misshapen tensors.
    """
    expected = adapter_shapes(config, form)
    faults = [f"{name} is missing" for name in sorted(expected.keys() - got.keys())]
    faults += [f"{name!r:.200} is unknown" for name in sorted(got.keys() - expected.keys())]
    faults += [
        f"{name} has shape {got[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in got and got[name] != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WrongTensors(f"no {form}: {'; '.join(faults[:3])}{more}")


class AdaptedLinear(nn.Module):
    """A linear layer whose own weight is frozen, and a low-rank product beside it."""

    def __init__(self, layer: nn.Linear, form: AdapterForm) -> None:
        """Take over the layer's very parameters; A and B are not filled yet."""
        super().__init__()
        self.weight, self.bias, self.scale = layer.weight, layer.bias, form.scale
        self.lora_A = _Product(form.rank, layer.in_features, layer.weight)
        self.lora_B = _Product(layer.out_features, form.rank, layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        own = F.linear(x, self.weight, self.bias)
        return own + self.lora_B(self.lora_A(x) * self.scale)


class _Product(nn.Module):
    """x M^T, with M where and of the type that `like` is."""

    def __init__(self, outputs: int, inputs: int, like: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(outputs, inputs, device=like.device, dtype=like.dtype)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@torch.no_grad()
def adapt(decoder: Decoder, form: AdapterForm, seed: int) -> None:
    """Freeze the decoder, whose weights become bf16 values, and give it an adapter that alone is trained.

    The adapter begins as PEFT's does: A uniform in +-1/sqrt(in), drawn from `seed` alone in the order of names,
    and B zero, so that nothing is changed yet.

    Raises:
        WrongTensors: the form has a product beside the head, which this network does not compute.
    """
    if HEAD in form.targets:
        raise WrongTensors(f"{form}: a decoder alone has none beside {HEAD}; leave that target out")
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
        parameter.copy_(parameter.to(torch.bfloat16))
    for layer in layer_names(decoder.config, form):
        parent, _, name = layer.rpartition(".")
        setattr(decoder.get_submodule(parent), name, AdaptedLinear(_linear(decoder, layer), form))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(trained(decoder).items()):
        if name.endswith(HIGH):
            parameter.zero_()
        else:
            bound = 1 / math.sqrt(parameter.shape[1])
            drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.copy_(drawn)


def is_adapted(decoder: nn.Module) -> bool:
    """Whether it was given an adapter."""
    return any(isinstance(each, AdaptedLinear) for each in decoder.modules())


def trained(decoder: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a version of the policy consists of, by the names that they are published under."""
    named = {name: each for name, each in decoder.named_parameters() if each.requires_grad}
    if len(named) == sum(1 for _ in decoder.parameters()):
        return named
    return {PREFIX + name: each for name, each in named.items()}


@torch.no_grad()
def set_adapter(decoder: Decoder, adapter: Adapter) -> None:
    """Fill an adapted decoder's products.

    Raises:
        WrongTensors: they are not those of the decoder's adapter.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.state.items()}
    check_adapter(shapes, decoder.config, adapter.form)
    for name, parameter in trained(decoder).items():
        parameter.copy_(adapter.state[name])


def base_state(decoder: nn.Module) -> dict[str, Tensor]:
    """The frozen weights of an adapted decoder, bf16, by the names of a whole model."""
    return {
        name: each.detach().to("cpu", torch.bfloat16)
        for name, each in decoder.named_parameters()
        if not each.requires_grad
    }


@torch.no_grad()
def merged(
    base: Mapping[str, Tensor], adapter: Adapter, config: DecoderConfig
) -> dict[str, Tensor]:
    """Whole bf16 weights, by the rule of docs/decisions/0024: the same bits on every machine.

    base: bf16 by Hugging Face names; its tensors that nothing is added to are handed on as they are.

    Raises:
        WrongTensors: the adapter is not of this form over this architecture, or it lies beside a head whose weight
            is the embedding, too.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.state.items()}
    check_adapter(shapes, config, adapter.form)
    if HEAD in adapter.form.targets and config.tie_embeddings:
        raise WrongTensors(
            f"{adapter.form} over a head that is the embedding, too: its sum would change what tokens mean; keep it "
            "beside the weights"
        )
    state = dict(base)
    for layer in layer_names(config, adapter.form):
        pair = adapter.pair(layer)
        if pair is not None:
            state[f"{layer}.weight"] = _sum(base[f"{layer}.weight"], *pair, adapter.form.scale)
    return state


def _sum(weight: Tensor, low: Tensor, high: Tensor, scale: float) -> Tensor:
    """W + s BA. A product of two bf16 numbers is exact in f64, so that only the order of the sum matters."""
    low, high = low.to("cpu", torch.float64), high.to("cpu", torch.float64)
    merged_weight = torch.empty_like(weight)
    rows = max(1, MERGED_AT_A_TIME // weight.shape[1])
    for start in range(0, weight.shape[0], rows):
        part = slice(start, start + rows)
        total = torch.zeros(weight[part].shape, dtype=torch.float64)
        for k in range(low.shape[0]):
            total.addcmul_(high[part, k : k + 1], low[k : k + 1])
        total.mul_(scale).add_(weight[part].double())
        merged_weight[part] = total.float().to(torch.bfloat16)
    return merged_weight


def _linear(decoder: Decoder, name: str) -> nn.Linear:
    found = decoder.get_submodule(name)
    if not isinstance(found, nn.Linear):
        raise TypeError(f"{name} is a {type(found).__name__}; expected a linear layer")
    return found
