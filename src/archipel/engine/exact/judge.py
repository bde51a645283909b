"""One step of a disputed rollout, computed once more from what both parties agree on.

Products are computed in int64 from the text of the contract, with NumPy alone, and so are the small steps that
attention is taken apart into (`workings`); what stands between them is the engine's own, on one row. Law: every weight that is used has the digest that the
version's manifest gives it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.attention_working import working_of
from archipel.engine.exact.hashing import Row
from archipel.engine.exact.projection import sigmoid_linear
from archipel.engine.exact.rows import FINE_TOP, SMALLEST, Rows, cut, room_of
from archipel.engine.exact.steps import Step, steps_of
from archipel.engine.exact.trace import BadQuestion, Question, seen_rows
from archipel.engine.exact.variants import BASE, DIGIT, WHOLE_WEIGHT
from archipel.engine.exact.workings import Working
from archipel.engine.fused import qk_norm_of, queries_keys_values
from archipel.model.config import DecoderConfig
from archipel.model.manifest import CorruptWeights, Manifest, weight_bytes
from archipel.records.canonical import sha256_digest

f32 = np.float32
Integers = NDArray[np.int64]


class Judge:
    """Of one question."""

    def __init__(
        self,
        config: DecoderConfig,
        state: Mapping[str, Tensor],
        manifest: Manifest,
        question: Question,
    ) -> None:
        """`manifest` describes the version; `state` has the tensors that will be needed.

        Raises:
            BadQuestion: the question is of other weights, or none for this model.
        """
        question.check(config)
        if question.weights != manifest.state:
            raise BadQuestion(
                f"the question is of weights {question.weights}, these are {manifest.state}"
            )
        self.question, self.steps = question, steps_of(config)
        self._config, self._state = config, state
        self._entries = {entry.name: entry for entry in manifest.tensors}
        self._numbers = ExactArithmetic(config, question.variant, torch.device("cpu"))

    @property
    def num_leaves(self) -> int:
        """Rows that a party commits to."""
        return len(self.question.fed) * len(self.steps)

    @property
    def num_layers(self) -> int:
        """Of the model."""
        return self._config.num_layers

    def width(self, leaf: int) -> int:
        """Numbers in a row."""
        position, step = self.at(leaf)
        return 0 if step.late and position < len(self.question.prompt) - 1 else step.width

    def at(self, leaf: int) -> tuple[int, Step]:
        """Position and step."""
        position, number = divmod(leaf, len(self.steps))
        return position, self.steps[number]

    def needs(self, leaf: int) -> list[int]:
        """The rows that this one is computed from in one step; all of them stand before it."""
        position, step = self.at(leaf)
        return [position * len(self.steps) + number for number in step.inputs]

    def working(self, leaf: int, element: int) -> Working | None:
        """How a number is worked out that takes more than a row or two; None for all others."""
        return working_of(self._config, self._numbers.variant, self.steps, leaf, element)

    @torch.inference_mode()
    def value(self, leaf: int, element: int, rows: Sequence[Row]) -> np.float32:
        """One number of row `leaf` that has no working, from the rows that it `needs`, in that order.

        Raises:
            CorruptWeights: a weight here is not that of the version.
        """
        position, step = self.at(leaf)
        with np.errstate(all="ignore"):  # both may agree on numbers that lead to none
            if step.kind == "product":
                return self._product(step, element, rows[0])
        tensors = [torch.from_numpy(row.copy())[None] for row in rows]
        return f32(self._row(position, step, tensors)[0, element].item())

    def _row(self, position: int, step: Step, rows: list[Tensor]) -> Tensor:
        numbers = self._numbers
        match step.kind:
            case "embedded":
                rows_of_tokens = self._tensor("model.embed_tokens.weight")
                return rows_of_tokens[self.question.fed[position]].float()[None]
            case "sum":
                norm = self._norm_after(step)
                if norm is None:
                    return rows[0] + rows[1]
                return rows[1] + numbers.normed(rows[0], norm)
            case "fed":
                return _joined(numbers.fed(rows[0], self._norm_before(step)))
            case "seen":
                norm = qk_norm_of(self._config, step.layer, self._tensor)
                turns = numbers.rotations(position + 1)[position:]
                return seen_rows(numbers, *queries_keys_values(numbers, norm, rows[0], turns))
            case "quantised":
                return _joined(cut(rows[0], numbers.variant))
            case "wide":
                return _joined(cut(rows[1] * sigmoid_linear(rows[0].clone()), numbers.variant))
            case _:
                token, logprob = numbers.sample(rows[0], self.question.draw(position))
                return torch.stack((token.float(), logprob), -1)

    def _norm_before(self, step: Step) -> Tensor | None:
        """The weight of the norm before a product, in families that have it there."""
        if step.layer < 0:
            return self._tensor("model.norm.weight").float()
        if self._config.norm_placement == "post":
            return None
        name = "input" if step.name == "h" else "post_attention"
        return self._tensor(f"model.layers.{step.layer}.{name}_layernorm.weight").float()

    def _norm_after(self, step: Step) -> Tensor | None:
        """The weight of the norm between a product and the residual stream, in families that have it there."""
        if self._config.norm_placement == "pre":
            return None
        last = self._config.num_layers
        layer, name = (step.layer if step.layer >= 0 else last) - 1, "post_feedforward"
        if step.name == "x after attention":
            layer, name = step.layer, "post_attention"
        return self._tensor(f"model.layers.{layer}.{name}_layernorm.weight").float()

    def _product(self, step: Step, element: int, row: Row) -> np.float32:
        """Clause 3 for one output."""
        weight, bias = self._weights(step, element)
        variant = self._numbers.variant
        m = max(np.abs(weight).max(), f32(SMALLEST))
        a = row[:-1].astype(np.int64)
        if variant.by_length:
            w, scale = _by_length(weight, m)
            y = f32(np.dot(a, w)) * scale * row[-1]
            return f32(y if bias is None else y + bias)
        w = np.rint(weight * (f32(variant.weight_top) / m)).astype(np.int64)
        a_digits = _digits(a) if variant.activation_digits == 2 else [a]
        w_digits = _digits(w) if variant.weight_digits == 2 else [w]
        y = f32(np.dot(a_digits[0], w_digits[0]))
        if variant.activation_digits == 2:
            y = f32(BASE) * y + f32(np.dot(a_digits[1], w_digits[0]))
        if variant.weight_digits == 2:
            y = y + f32(np.dot(a_digits[0], w_digits[1]))
        y = y * (m / f32(DIGIT)) * row[-1]
        return f32(y if bias is None else y + bias)

    def _weights(self, step: Step, element: int) -> tuple[Row, np.float32 | None]:
        """One output's weights as f32, and its bias."""
        if step.layer < 0:
            name = "model.embed_tokens" if self._config.tie_embeddings else "lm_head"
        elif step.name == "qkv":
            name, element = self._part_of_qkv(step.layer, element)
        else:
            room = "self_attn.o" if step.name == "out" else f"mlp.{step.name}"
            name = f"model.layers.{step.layer}.{room}_proj"
        bias = None
        if step.name == "qkv" and self._config.qkv_bias:
            bias = f32(self._tensor(f"{name}.bias")[element].item())
        return self._tensor(f"{name}.weight")[element].float().numpy(), bias

    def _part_of_qkv(self, layer: int, element: int) -> tuple[str, int]:
        size, config = self._config.head_dim, self._config
        for part, heads in zip("qkv", (config.num_heads, *[config.num_kv_heads] * 2), strict=True):
            if element < heads * size:
                return f"model.layers.{layer}.self_attn.{part}_proj", element
            element -= heads * size
        raise IndexError("no such output")

    def _tensor(self, name: str) -> Tensor:
        """As it stands in the version."""
        entry, held = self._entries.get(name), self._state.get(name)
        if entry is None or held is None:
            raise CorruptWeights(f"{name} is not among the weights")
        held = held.detach().to(torch.bfloat16)
        digest = sha256_digest(weight_bytes(name, held).tobytes())
        if (tuple(held.shape), digest) != (entry.shape, entry.digest):
            raise CorruptWeights(
                f"{name} is not that of the version: its manifest says {entry.digest}"
            )
        return held


def _by_length(weight: Row, m: np.float32) -> tuple[Integers, np.float32]:
    """Clause 1.6 for one row of weights."""
    fine = np.rint(weight * (f32(FINE_TOP) / m)).astype(np.int64)
    length = np.sqrt(np.float64(max(1, int(np.dot(fine, fine)))))
    factor = min(f32(room_of(len(weight)) / length), f32(WHOLE_WEIGHT) / f32(FINE_TOP), key=float)
    return np.rint(fine.astype(f32) * factor).astype(np.int64), m / f32(FINE_TOP) / factor


def _digits(q: Integers) -> list[Integers]:
    high = np.rint(q / BASE).astype(np.int64)
    return [high, q - BASE * high]


def _joined(rows: Rows) -> Tensor:
    return torch.cat((rows.q, rows.scale), -1)
