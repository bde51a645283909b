"""One tenant's adapter as it is trained: fp32 masters, moments, and the gradient gathered since the last step.

Parts: `Layout` (where in a flat vector each tensor lies), `TenantState`.
Law: every vector is flat, fp32 and laid out alike; what a pass computes with is the masters rounded to bf16, as in
`training.optimiser`; a step that cannot be taken leaves everything as it was.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from archipel.model.adapter import HIGH, LOW, PREFIX, Adapter, adapter_shapes
from archipel.model.config import DecoderConfig
from archipel.model.manifest import WrongTensors
from archipel.records.adapter import AdapterForm
from archipel.records.canonical import canonical_json
from archipel.training.checkpoint import read_file, write_file
from archipel.training.tenants.operations import OptimStep
from archipel.training.tenants.rows import rounded

FILES = ("state.safetensors",)
"""Of a state as a folder."""
MASTERS, FIRST, SECOND, GRADIENT = "masters", "exp_avg", "exp_avg_sq", "gradient"


AT_ONCE = 2**18
"""Numbers of a state that a step computes with at once, 1 MiB of each kind."""


class NotFinite(ArithmeticError):
    """The gradient has NaN or infinity; nothing was changed."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of an adapter's tensors, in the order in which they lie in a flat vector."""

    form: AdapterForm
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, form: AdapterForm, config: DecoderConfig) -> "Layout":
        """Raises WrongTensors: this family has no such layer."""
        return cls(form, dict(sorted(adapter_shapes(config, form).items())))

    @property
    def size(self) -> int:
        """Numbers of the adapter."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Its tensors by name; they share the vector's memory."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in named}

    def pairs(self, flat: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(layer, A (r, in), B (out, r)) of each layer that has a product."""
        views = self.views(flat)
        for name in views:
            if name.endswith(LOW):
                layer = name.removeprefix(PREFIX).removesuffix(LOW)
                yield layer, views[name], views[f"{PREFIX}{layer}{HIGH}"]


class TenantState:
    """What a tenant's next operation starts from."""

    def __init__(self, layout: Layout, masters: Tensor) -> None:
        """masters: flat, fp32; taken over."""
        self.layout, self.masters, self.steps = layout, masters, 0
        self.moments: tuple[Tensor, Tensor] | None = None
        """Of first and second order; None before the first step."""
        self.gradient: Tensor | None = None
        """Gathered since the last step; None: nothing was."""

    @classmethod
    def drawn(cls, form: AdapterForm, config: DecoderConfig, seed: int) -> "TenantState":
        """As `model.adapter.adapt` begins: A uniform in +-1/sqrt(in) in the order of names, B zero.

        Raises:
            WrongTensors: this family has no such layer.
        """
        layout = Layout.of(form, config)
        flat = torch.zeros(layout.size)
        generator = torch.Generator().manual_seed(seed)
        for name, view in layout.views(flat).items():
            if name.endswith(LOW):
                bound = 1 / math.sqrt(view.shape[1])
                view.uniform_(-bound, bound, generator=generator)
        return cls(layout, flat)

    def rounded(self) -> Tensor:
        """What a pass computes with: bf16 values in fp32, flat."""
        return rounded(self.masters)

    def gather(self, gradient: Tensor) -> None:
        """Add an operation's gradient, which becomes this state's own.

        Raises:
            NotFinite: it, or the sum, is not finite; nothing was added.
        """
        total = gradient if self.gradient is None else gradient.add_(self.gradient)
        if not _is_finite(total):
            raise NotFinite("the gradient is not finite")
        self.gradient = total

    def step(self, asked: OptimStep) -> dict[str, float]:
        """One step of AdamW (arXiv 1711.05101) with what was gathered; what happened, in numbers.

        It is computed a part at a time, twice: looked at, and then put in place, so that no second copy of a state is
        ever held.

        Raises:
            NotFinite: the step would give NaN or infinity.
        """
        norm, factor = 0.0, 1.0
        if self.gradient is not None:
            norm = float(torch.linalg.vector_norm(self.gradient, dtype=torch.float64))
        if asked.clip_norm and norm > asked.clip_norm:
            factor = asked.clip_norm / norm
        parts = [slice(at, at + AT_ONCE) for at in range(0, self.layout.size, AT_ONCE)]
        if not (
            math.isfinite(norm)
            and all(_is_sound(self._after(asked, factor, part)) for part in parts)
        ):
            raise NotFinite(
                f"the step would leave weights or moments that are not finite (gradient norm {norm:g}); use a smaller "
                "learning rate, or clip the gradient"
            )
        held = self.moments or (torch.zeros_like(self.masters), torch.zeros_like(self.masters))
        for part in parts:
            new = self._after(asked, factor, part)
            for each, numbers in zip((self.masters, *held), new, strict=True):
                each[part] = numbers
        self.moments, self.steps, self.gradient = held, self.steps + 1, None
        return {
            "gradient_norm": norm,
            "learning_rate": asked.learning_rate,
            "step": float(self.steps),
        }

    def _after(self, asked: OptimStep, factor: float, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Masters and moments of a part after the next step; factor: of the gradient."""
        masters = self.masters[part] * (1 - asked.learning_rate * asked.weight_decay)
        gradient = torch.zeros_like(masters)
        if self.gradient is not None:
            gradient = self.gradient[part] * factor
        first, second = (
            (torch.zeros_like(masters), torch.zeros_like(masters))
            if self.moments is None
            else (self.moments[0][part], self.moments[1][part])
        )
        first = torch.lerp(first, gradient, 1 - asked.beta1)
        second = (second * asked.beta2).addcmul_(gradient, gradient, value=1 - asked.beta2)
        steps = self.steps + 1
        scale = math.sqrt(1 - asked.beta2**steps)
        size = asked.learning_rate / (1 - asked.beta1**steps)
        masters.addcdiv_(first, (second.sqrt() / scale).add_(asked.epsilon), value=-size)
        return masters, first, second

    def adapter(self) -> Adapter:
        """What is published: bf16."""
        views = self.layout.views(self.masters)
        return Adapter(
            self.layout.form, {name: view.to(torch.bfloat16) for name, view in views.items()}
        )

    def write(self, folder: Path) -> None:
        """Durably, into a folder that is there or is made; a state that lay there is replaced whole.

        Raises:
            OSError: the disk is full or not writable.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {MASTERS: self.masters}
        if self.moments is not None:
            tensors |= {FIRST: self.moments[0], SECOND: self.moments[1]}
        if self.gradient is not None:
            tensors[GRADIENT] = self.gradient
        write_file(folder / FILES[0], self.steps, tensors, self.layout.form.model_dump(mode="json"))

    @classmethod
    def read(
        cls,
        folder: Path,
        form: AdapterForm | None,
        config: DecoderConfig,
        *,
        optimiser: bool = True,
    ) -> "TenantState":
        """What `write` wrote; without `optimiser` its weights alone, before any step.

        form: what it has to be; None: whatever it says.

        Raises:
            BadCheckpoint: the file is missing, damaged or another thing.
            WrongTensors: it is of another form, or does not fit this model.
        """
        found = read_file(folder / FILES[0])
        try:
            said = AdapterForm.model_validate_json(canonical_json(found.facts))
        except ValidationError as error:
            raise WrongTensors(f"the state kept says no form: {error!s:.200}") from None
        if form is not None and said != form:
            raise WrongTensors(f"the state kept is of {said}; expected {form}")
        layout = Layout.of(said, config)
        _require(found.tensors, layout.size)
        state = cls(layout, found.tensors[MASTERS])
        if optimiser:
            state.steps, state.gradient = found.number, found.tensors.get(GRADIENT)
            if FIRST in found.tensors:
                state.moments = found.tensors[FIRST], found.tensors[SECOND]
        return state


def _require(tensors: Mapping[str, Tensor], size: int) -> None:
    names = tensors.keys()
    if not (
        {MASTERS} <= names <= {MASTERS, FIRST, SECOND, GRADIENT}
        and (FIRST in names) == (SECOND in names)
    ):
        raise WrongTensors(f"the state kept has {sorted(names)}; expected {MASTERS} and moments")
    for name, tensor in tensors.items():
        if tensor.shape != (size,) or tensor.dtype != torch.float32:
            raise WrongTensors(
                f"{name} of the state kept is {tensor.dtype} of shape {tuple(tensor.shape)}; expected fp32 of ({size},)"
            )
        if not _is_finite(tensor):
            raise WrongTensors(f"{name} of the state kept is not finite; take an earlier state")


def _is_sound(new: tuple[Tensor, Tensor, Tensor]) -> bool:
    """Masters and moments: what a pass reads are the masters in bf16, which ends below fp32's largest."""
    masters, *moments = new
    return all(_is_finite(each) for each in (masters.to(torch.bfloat16), *moments))


def _is_finite(numbers: Tensor) -> bool:
    return bool(torch.isfinite(numbers).all())
