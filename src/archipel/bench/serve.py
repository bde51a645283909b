"""How soon and how fast served models answer: ours over our own server and HTTP, beside others, in one run.

Parts: `Plan` and its `Case`s, `measure`. All sides have the same weights, prompts, threads and lengths, run as servers
of their own and are asked by the same clients; they take turns in an order drawn anew for each round and case, so that
all meet the same neighbours, and are compared within a round. A short first round warms and is not counted. Prompts are
new in every round, so that nobody answers from what it kept, except where a case shares a beginning.
What it does not show: other machines, sampling with a temperature, the quality of quantised weights.
"""

import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from archipel.bench.serve_asking import ask, crowd
from archipel.bench.serve_sides import LLAMA, NODE, Peers, Room, Server, Side, sides_of
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.gguf import write_gguf
from archipel.model.gguf_packed import Kind
from archipel.model.network import Decoder, random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer

Tell = Callable[[str], None]
Found = dict[str, Any]
_CONTROL = 3
"""Of the tokenizer of a model made on the spot."""
_SPECIAL = 256
"""Ids below this are often control tokens; prompts of larger vocabularies have none of them."""


@dataclass(frozen=True)
class Case:
    """Questions asked at once."""

    name: str
    clients: int
    prompt: int
    """Tokens of each."""
    new: int
    """Tokens of each answer."""
    shared: int = 0
    """Tokens at the beginning that all have in common, and that were asked once before the clock runs."""


CASES = (
    Case("1 client", 1, 64, 64),
    Case("4 clients", 4, 64, 64),
    Case("8 clients", 8, 64, 64),
    Case("16 clients", 16, 64, 64),
    Case("2,000-token prompt", 1, 2000, 16),
    Case("shared prefix", 4, 512, 16, 448),
)
QUICK_CASES = (
    Case("1 client", 1, 32, 16),
    Case("4 clients", 4, 32, 16),
    Case("500-token prompt", 1, 500, 8),
    Case("shared prefix", 4, 256, 8, 192),
)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    cases: tuple[Case, ...] = CASES
    rounds: int = 5
    threads: int = 1
    width: int = 512
    """Of the model made on the spot, where none is given."""


QUICK = Plan(cases=QUICK_CASES, rounds=2, width=256)


@dataclass(frozen=True)
class Entered:
    """Who takes part, and with what."""

    model: Path | None
    """A model directory; None: one is made on the spot."""
    peers: Peers
    only: tuple[str, ...]
    """Beginnings of the names of sides; (): all that can be had."""
    environment: Mapping[str, str]
    """Of every server."""


def measure(plan: Plan, entered: Entered, tell: Tell, found: Found) -> None:
    """Everything that the plan names, into `found` as it comes.

    Raises:
        ServerFailed: a server did not start.
        NoAnswer: a question was not answered as asked.
    """
    folder = Path(tempfile.mkdtemp(prefix="archipel-serve-"))
    servers: list[Server] = []
    try:
        sides, absent = sides_of(folder, _room(plan), entered.peers)
        only = entered.only or ("",)
        sides = [each for each in sides if each.name.startswith(only)]
        if not sides:
            raise ValueError(f"no side that can be had begins with {', '.join(only)}: {absent}")
        config = _lay_out(folder, plan, entered, tell)
        found |= {
            "model": "made on the spot" if entered.model is None else entered.model.resolve().name,
            "weights": sum(each.numel() for each in Decoder(config).parameters()),
            "threads": plan.threads, "absent": absent, "rows": [],
        }  # fmt: skip
        for name, why in absent.items():
            tell(f"without {name}: {why}")
        for side in sides:
            log = folder / f"{side.name.replace(' ', '-')}.log"
            servers.append(Server(side, log, entered.environment, plan.threads))
            servers[-1].start()
        for server in servers:
            server.wait()
            tell(f"{server.side.name} serves")
        _rounds(plan, servers, config.vocab_size, tell, found)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _room(plan: Plan) -> Room:
    longest = max(each.prompt + each.new for each in plan.cases)
    at_once = max((each.prompt + each.new) * each.clients for each in plan.cases)
    return Room(plan.threads, max(each.clients for each in plan.cases), longest, 2 * at_once)


def _lay_out(folder: Path, plan: Plan, entered: Entered, tell: Tell) -> DecoderConfig:
    """The same weights as a directory and as GGUF files, none of which knows an end."""
    model, llama = entered.model, entered.peers.llama
    tokenizer = character_tokenizer() if model is None else Tokenizer.from_directory(model)
    network = _made(plan.width) if model is None else read_model(model)
    endless = replace(tokenizer, eos_token=None, end_ids=())
    config = replace(network.config, eos_token_ids=())
    write_model(folder / "model", network, config, endless, dtype=torch.float32)
    if llama is not None and (llama / "node_modules" / NODE).is_dir():
        for kind in (each for each in get_args(Kind) if each in LLAMA):
            tell(f"writing {kind}.gguf")
            write_gguf(folder / f"{kind}.gguf", network, endless, kind)
    return config


def _made(width: int) -> Decoder:
    """A llama of random weights with room for long prompts, whose control tokens are never the likeliest."""
    heads = width // 64
    config = DecoderConfig("llama", 64, width, 8, heads, max(1, heads // 2), 64, 3 * width, 4096)
    made = random_weights(config, 1)
    with torch.no_grad():
        made.state_dict()["model.embed_tokens.weight"][:_CONTROL] = 0.0
    return made


def _rounds(plan: Plan, servers: list[Server], vocabulary: int, tell: Tell, found: Found) -> None:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number in range(plan.rounds + 1):
        for case in plan.cases if number else map(_warming, plan.cases):
            seed = f"{number} {case.name}"
            order = list(servers)
            random.Random(seed).shuffle(order)  # noqa: S311  no secret
            for server in order:
                speed, first = _measured(server, case, vocabulary, seed)
                if number:
                    row = rows.setdefault((case.name, server.side.name), _row(case, server.side))
                    row["tokens_per_s"].append(speed)
                    row["first_s"].append(first)
            found["rows"] = list(rows.values())
            tell(f"round {number} of {plan.rounds}: {case.name}")


def _warming(case: Case) -> Case:
    """As many clients, but short."""
    return replace(case, prompt=min(case.prompt, 32), new=min(case.new, 4), shared=0)


def _row(case: Case, side: Side) -> dict[str, Any]:
    return {
        "case": case.name, "clients": case.clients, "prompt": case.prompt, "new": case.new, "shared": case.shared,
        "side": side.name, "bits": side.bits, "ours": side.is_ours, "tokens_per_s": [], "first_s": [],
    }  # fmt: skip


def _measured(server: Server, case: Case, vocabulary: int, seed: str) -> tuple[float, float]:
    """Tokens per second of all clients together, prompts included; seconds to the first token, the clients' median."""
    draw = random.Random(seed)  # noqa: S311  no secret
    low = _SPECIAL if vocabulary > 2 * _SPECIAL else _CONTROL

    def some(num: int) -> list[int]:
        return [draw.randrange(low, vocabulary) for _ in range(num)]

    shared = some(case.shared)
    prompts = [shared + some(case.prompt - case.shared) for _ in range(case.clients)]
    if shared:
        ask(server.address, shared + some(case.prompt - case.shared), 1)
    timings = crowd(server.address, prompts, case.new)
    took = max(each.ended for each in timings) - min(each.asked for each in timings)
    first = statistics.median(each.first - each.asked for each in timings)
    return sum(each.tokens for each in timings) / took, first
