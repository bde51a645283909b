"""Language models in training, as subjects for measuring what an optimiser does to weights.

Two sizes learn to predict the source text of the Python standard library, which every machine that
runs this has: `demo` (the demo's 0.4 M weights, characters) and `30m` (28 M weights, words).
Law: a subject's course follows from its seed.
"""

import re
import sysconfig
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from archipel.model.config import DecoderConfig
from archipel.model.network import causal_attention, random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import ModelSection, OptimiserSection

MAX_TEXT_CHARS = 2_000_000


@dataclass(frozen=True)
class Subject:
    """A model, its data, and how far it is trained before anything is measured."""

    name: str
    config: DecoderConfig
    batch_size: int
    length: int
    """Tokens that one row predicts."""
    start_steps: int
    start_learning_rate: float
    num_seeds: int
    """How many seeds a report uses unless told otherwise."""


def subject_named(name: str) -> Subject:
    """`demo` or `30m`."""
    if name == "demo":
        config = DecoderConfig.from_section(ModelSection(), character_tokenizer())
        return Subject(name, config, 16, 64, 150, 3e-3, 5)
    if name == "30m":
        config = DecoderConfig("qwen3", 8192, 512, 8, 8, 4, 64, 1408, 256)
        return Subject(name, config, 4, 64, 20, 1e-3, 3)
    raise ValueError(f"no subject called {name!r:.40}; there are demo and 30m")


class Learner:
    """One subject under one seed: fp32 masters, AdamW as the recipe's default, clipped gradients."""

    def __init__(
        self, subject: Subject, seed: int, on_step: Callable[[int], None] = lambda step: None
    ) -> None:
        """Train as far as the subject says; `on_step` hears of each step."""
        self._subject = subject
        self._tokens = tokens_of(subject.config.vocab_size)
        self._generator = torch.Generator().manual_seed(seed)
        self.model = random_weights(subject.config, seed)
        self._restart(subject.start_learning_rate)
        for step in range(subject.start_steps):
            self.step()
            on_step(step + 1)
        self._start = {name: value.clone() for name, value in self.model.state_dict().items()}

    def begin(self, learning_rate: float) -> None:
        """Back to the weights after the first training, with a fresh optimiser."""
        self.model.load_state_dict(self._start)
        self._restart(learning_rate)

    def step(self) -> float:
        """One update; the loss before it, in nats per token."""
        rows, length = self._subject.batch_size, self._subject.length
        last = len(self._tokens) - length - 1
        starts = torch.randint(0, last, (rows,), generator=self._generator)
        window_BT = self._tokens[starts[:, None] + torch.arange(length + 1)]
        positions_BT = torch.arange(length).expand(rows, length)
        hidden = self.model(window_BT[:, :-1], positions_BT, causal_attention)
        logits = self.model.logits(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), window_BT[:, 1:].flatten())
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), OptimiserSection().clip_norm)
        self._optimiser.step()
        return loss.item()

    def published(self) -> Mapping[str, Tensor]:
        """The weights as policies would receive them: bf16."""
        return {name: value.bfloat16() for name, value in self.model.state_dict().items()}

    def _restart(self, learning_rate: float) -> None:
        section = OptimiserSection()
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=learning_rate,
            betas=(section.beta1, section.beta2),
            eps=section.epsilon,
            weight_decay=section.weight_decay,
        )


@lru_cache(maxsize=2)
def tokens_of(vocab_size: int) -> Tensor:
    """The text as ids (N,): characters for the 64-symbol vocabulary, else the commonest words."""
    text = _standard_library()
    symbols = character_tokenizer().backend.get_vocab()
    if vocab_size == len(symbols):
        return torch.tensor([symbols[sign] for sign in text.lower() if sign in symbols])
    words = re.findall(r"\w+|\W", text)
    common = Counter(words).most_common(vocab_size - 1)
    rank = {word: index for index, (word, _) in enumerate(common)}
    return torch.tensor([rank.get(word, vocab_size - 1) for word in words])


def _standard_library() -> str:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    pieces, size = [], 0
    for file in files:
        piece = file.read_text(encoding="utf-8", errors="replace")
        pieces.append(piece)
        size += len(piece)
        if size > MAX_TEXT_CHARS:
            break
    return "".join(pieces)
