"""A model that is served: its folder, tokenizer and desk; from questions to answers.

Parts: `Served`, `serve_folder`, `with_adapters` (of one base, together). Law: a question that is refused was never
given to the desk.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import torch

from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.protocol import OpenEngine, WrongWeights
from archipel.engine.quantised.arithmetic import Weights
from archipel.model.adapter import Adapter
from archipel.model.config_files import InvalidModel
from archipel.model.tokenizer import Tokenizer
from archipel.serve.answer import Answer
from archipel.serve.aside import Aside
from archipel.serve.asked import About
from archipel.serve.asking import LONG_CHARS, asking_of, prompt_of, size_of
from archipel.serve.desk import Desk, Room
from archipel.serve.drafting import Draft
from archipel.serve.grammar import Grammars
from archipel.serve.loading import load
from archipel.serve.question import Question
from archipel.serve.reader import Reader
from archipel.serve.texts import Embedded, Text, Weighed, Weighing
from archipel.work.folders import NAME, Folder, adapter_over

ADAPT_S = 600.0
"""For an adapter to be laid out."""


@dataclass(frozen=True, eq=False)
class Served:
    """One model, ready."""

    name: str
    tokenizer: Tokenizer
    desk: Desk
    grammars: Grammars
    positions: int
    """Its context, as far as the cache holds it."""
    usual_tokens: int
    """Of an answer at most, where the question names no limit: the cache is shared by all that are under way."""
    adapter: str | None
    """What the engine calls the adapter to sample with."""
    fingerprint: str
    """Names what answers depend on: engine, precision, threads, version of torch."""
    since: int
    """Unix seconds."""

    about: About = field(default_factory=About)
    aside: Aside = field(default_factory=Aside)
    """Where questions are read, so that reading holds up nobody's stream."""
    long_aside: Aside = field(default_factory=lambda: Aside(threads=1, most=64))

    async def ask(self, question: Question, key: str, now: datetime) -> Answer:
        """See `asked.Asked.ask`."""
        asking = await self._beside(question).do(asking_of, self, question, now)
        answer = Answer(asking, self.tokenizer, self.desk, key)
        self.desk.ask(answer.listener)
        return answer

    async def count(self, question: Question, now: datetime) -> int:
        """See `asked.Asked.count`."""
        return len(await self._beside(question).do(self.prompt_of, question, now))

    def _beside(self, question: Question) -> Aside:
        """Short questions never wait for long ones to be read."""
        return self.long_aside if size_of(question) > LONG_CHARS else self.aside

    def prompt_of(self, question: Question, now: datetime) -> tuple[int, ...]:
        """See `asking.prompt_of`."""
        return prompt_of(self, question, now)

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """See `asked.Reads.embed`."""
        return await self._reader.embed(text, key, is_cut=is_cut)

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """See `asked.Reads.weigh`."""
        return await self._reader.weigh(weighing, key, now)

    @property
    def _reader(self) -> Reader:
        return Reader(self, self.desk, self.aside, self.long_aside)

    @property
    def chat_template(self) -> str | None:
        """See `asked.Asked.chat_template`."""
        return self.tokenizer.chat_template

    def counts(self) -> Mapping[str, int]:
        """See `asked.Asked.counts`."""
        return self.desk.counts()


@dataclass(frozen=True)
class How:
    """How a model is served."""

    name: str
    limits: EngineLimits = field(default_factory=EngineLimits)
    room: Room = field(default_factory=Room)
    usual_tokens: int = 1024
    weights: Weights | Literal["auto"] = "auto"
    """What the weights are held as; auto: what this machine is quickest with, without rounding more than bf16 does."""
    draft: Draft = "none"
    """Who guesses tokens, so that several come in one step; it changes no answer."""


def serve_folder(folder: Folder, how: How, now: datetime) -> Served:
    """Load a model directory and begin to answer.

    Raises:
        InvalidModel, InvalidTokenizer: it cannot be used, or is computed by another library than this one.
    """
    tokenizer = Tokenizer.from_directory(folder.model)
    loaded = load(folder, how.weights, how.limits, how.draft)
    return Served(
        name=how.name,
        tokenizer=tokenizer,
        desk=Desk(loaded.engine, how.room),
        grammars=Grammars(tokenizer, loaded.config.vocab_size),
        positions=loaded.engine.longest,
        usual_tokens=how.usual_tokens,
        adapter=NAME if folder.adapter is not None else None,
        fingerprint=f"archipel-{loaded.weights}-{torch.get_num_threads()}t-torch{torch.__version__}",
        since=round(now.timestamp()),
        about=About(
            family=loaded.config.family,
            num_parameters=loaded.num_parameters,
            num_bytes=sum(each.stat().st_size for each in folder.model.glob("*.safetensors")),
            precision=loaded.weights,
            dimensions=loaded.config.hidden_size,
        ),
    )


def with_adapters(base: Served, model: Path, adapters: Mapping[str, Path]) -> dict[str, Served]:
    """The base and each adapter over it, by name: one engine, one desk, and each question with its own or none.

    model: the directory of the base's weights.

    Raises:
        InvalidModel: one is no adapter of this model, or has another's name.
    """
    if adapters:  # rows without one are rounded otherwise beside them
        base = replace(base, fingerprint=f"{base.fingerprint}-beside-adapters")
    served = {base.name: base}
    for name, path in adapters.items():
        if name in served or name == NAME:
            raise InvalidModel(f"two models would be called {name!r}; give each a name of its own")
        adapter = adapter_over(path, model)
        adapt = functools.partial(_adapt, name=name, adapter=adapter)
        try:
            base.desk.run(adapt).result(ADAPT_S)
        except WrongWeights as error:
            raise InvalidModel(f"{path} cannot lie over {base.name}: {error}") from None
        about = replace(base.about, base=base.name)
        served[name] = replace(base, name=name, adapter=name, about=about)
    return served


def _adapt(engine: OpenEngine, name: str, adapter: Adapter) -> None:
    if not isinstance(engine, LocalEngine):
        raise WrongWeights("its engine takes no adapters; serve the merged model instead")
    engine.adapt(name, adapter)
