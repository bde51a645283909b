"""A model that is served: its folder, tokenizer and desk; from questions to answers.

Parts: `Served`, `serve_folder`, `with_adapters` (of one base, together), `check_steady`. Law: a question that is refused was never
given to the desk.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import torch

from archipel.engine import steadiness
from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.protocol import OpenEngine, WrongWeights
from archipel.engine.quantised.arithmetic import Weights
from archipel.model.adapter import Adapter
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_mapped
from archipel.model.tokenizer import Tokenizer
from archipel.records.exact import CONTRACTS
from archipel.serve.answer import Answer
from archipel.serve.aside import Asides, Once
from archipel.serve.asked import About
from archipel.serve.asking import asking_of, prompt_of, size_of
from archipel.serve.desk import Desk, Room
from archipel.serve.drafting import Draft
from archipel.serve.grammar import Grammars
from archipel.serve.loading import Numbers, load, with_adapter
from archipel.serve.metering import Tallying
from archipel.serve.origin import Origin, adapter_digest, weights_digest
from archipel.serve.question import Question
from archipel.serve.reader import Reader
from archipel.serve.texts import Embedded, Text, Weighed, Weighing
from archipel.work.folders import NAME, Folder, adapter_over

ADAPT_S = 600.0
"""For an adapter to be laid out."""
STEADY_S = 3600.0
"""For looking whether answers depend on their company."""
DIGEST_S = 2.0
"""For whoever asks for digests that nobody knows yet."""
MOST_LOOKED_AT = 8
"""Adapters."""


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
    origin: Origin | None = None
    """What answers come from, where they are the same whenever the same is asked; None: nobody promised."""
    takes_bends: bool = True
    """Whether it samples from anything but its whole distribution: the exact contract does not."""
    about: About = field(default_factory=About)
    weights: Once | None = None
    """Their digest; None: nobody looks."""
    meter: Tallying | None = None
    """Who counts what was asked; None: nobody does."""
    asides: Asides = field(default_factory=Asides)
    """Where questions are read, so that reading holds up nobody's stream."""

    async def ask(self, question: Question, key: str, now: datetime) -> Answer:
        """See `asked.Asked.ask`."""
        asking = await self.asides.of(size_of(question)).do(key, asking_of, self, question, now)
        answer = Answer(asking, self.tokenizer, self.desk, key, self.origin)
        if self.meter is not None:
            answer.when_left = functools.partial(_count, self.meter, answer)
        self.desk.ask(answer.listener)
        return answer

    async def count(self, question: Question, key: str, now: datetime) -> int:
        """See `asked.Asked.count`."""
        return len(await self.asides.of(size_of(question)).do(key, self.prompt_of, question, now))

    def prompt_of(self, question: Question, now: datetime) -> tuple[int, ...]:
        """See `asking.prompt_of`."""
        return prompt_of(self, question, now)

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """See `asked.Reads.embed`."""
        found = await self._reader.embed(text, key, is_cut=is_cut)
        if self.meter is not None:
            self.meter.count(key, tokens_in=found.num_tokens)
        return found

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """See `asked.Reads.weigh`."""
        found = await self._reader.weigh(weighing, key, now)
        if self.meter is not None:
            self.meter.count(key, tokens_in=found.num_prompt_tokens)
        return found

    async def digest(self) -> str:
        """See `asked.HasWeights`."""
        return "" if self.weights is None else await self.weights.get(DIGEST_S)

    @property
    def _reader(self) -> Reader:
        return Reader(self, self.desk, self.asides)

    @property
    def chat_template(self) -> str | None:
        """See `asked.Asked.chat_template`."""
        return self.tokenizer.chat_template

    @property
    def is_deterministic(self) -> bool:
        """Whether the same question has the same answer, without a seed too."""
        return self.origin is not None

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
    exact: str | None = None
    """Variant of the exact contract to compute by; None: floating point."""
    is_deterministic: bool = False
    """Whether the same question has the same answer, without a seed too; `steady` then has to be asked before anybody else."""

    @property
    def numbers(self) -> Numbers:
        """As `loading` is told."""
        return Numbers(self.weights, self.exact, self.is_deterministic)


def serve_folder(folder: Folder, how: How, now: datetime) -> Served:
    """Load a model directory and begin to answer.

    Raises:
        InvalidModel, InvalidTokenizer: it cannot be used, or is computed by another library than this one.
    """
    tokenizer = Tokenizer.from_directory(folder.model)
    loaded = load(folder, how.numbers, how.limits, how.draft)
    origin = loaded.origin
    mark = f"archipel-{loaded.weights}-{torch.get_num_threads()}t-torch{torch.__version__}"
    if how.exact is not None:
        mark = CONTRACTS[how.exact]
    return Served(
        name=how.name,
        tokenizer=tokenizer,
        desk=Desk(loaded.engine, how.room),
        grammars=Grammars(tokenizer, loaded.config.vocab_size),
        positions=loaded.engine.longest,
        usual_tokens=how.usual_tokens,
        adapter=loaded.adapter,
        fingerprint=mark if origin is None else origin.fingerprint,
        since=round(now.timestamp()),
        origin=origin,
        takes_bends=how.exact is None,
        about=About(
            family=loaded.config.family,
            num_parameters=loaded.num_parameters,
            num_bytes=sum(each.stat().st_size for each in folder.model.glob("*.safetensors")),
            precision=how.exact or loaded.weights,
            dimensions=loaded.config.hidden_size,
        ),
        weights=Once(functools.partial(_digest, folder.model, origin, folder.adapter)),
    )


def with_adapters(base: Served, model: Path, adapters: Mapping[str, Path]) -> dict[str, Served]:
    """The base and each adapter over it, by name: one engine, one desk, and each question with its own or none.

    model: the directory of the base's weights.

    Raises:
        InvalidModel: one is no adapter of this model, or has another's name.
    """
    origin = base.origin
    if adapters:  # rows without one are rounded otherwise beside them
        if origin is not None:
            origin = replace(origin, is_beside=True)
        mark = f"{base.fingerprint}-beside-adapters" if origin is None else origin.fingerprint
        base = replace(base, fingerprint=mark, origin=origin)
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
        own = replace(base, name=name, adapter=name, about=replace(base.about, base=base.name))
        own = replace(own, weights=Once(functools.partial(_digest, model, origin, path)))
        if origin is not None:
            over = with_adapter(origin, adapter)
            own = replace(own, origin=over, fingerprint=over.fingerprint)
        served[name] = own
    return served


def check_steady(served: Mapping[str, Served]) -> int:
    """Whether answers depend on their company, looked at before anybody asks; completions compared.

    served: all that one desk drives.

    Raises:
        Unsteady: they do.
    """
    one = next(iter(served.values()))

    def look(engine: OpenEngine) -> int:
        if not isinstance(engine, LocalEngine):
            raise steadiness.Unsteady("only a model on this machine can be looked at; leave it out")
        names = tuple(dict.fromkeys(each.adapter for each in served.values()))[:MOST_LOOKED_AT]
        probe = steadiness.Probe(engine.config.vocab_size, one.positions, names)
        return steadiness.check_steady(engine, probe)

    return one.desk.run(look).result(STEADY_S)


def _count(meter: Tallying, answer: Answer) -> None:
    """As far as it had come; what the server itself could not answer costs nobody anything."""
    if answer.num_tokens and not answer.has_failed:
        tokens_in, tokens_out = answer.num_prompt_tokens, answer.num_tokens
        meter.count(answer.key, tokens_in=tokens_in, tokens_out=tokens_out)


def _digest(model: Path, origin: Origin | None, adapter: Path | None) -> str:
    """Of a directory's weights, or of the adapter over them."""
    base = weights_digest(read_mapped(model)) if origin is None else origin.weights
    return base if adapter is None else adapter_digest(adapter_over(adapter, model), base)


def _adapt(engine: OpenEngine, name: str, adapter: Adapter) -> None:
    if not isinstance(engine, LocalEngine):
        raise WrongWeights("its engine takes no adapters; serve the merged model instead")
    engine.adapt(name, adapter)
