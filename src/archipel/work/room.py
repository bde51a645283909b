"""Is there memory for a run, before anything of it is loaded? What it needs, what is free, and what would fit.

Parts: `update_need`, `node_need` (of a recipe or a piece of work, by the formulas of `planning.laws.holding`),
`free_bytes` (of this process: the machine's, its container's and its own bound), `shortage` (one sentence).
Law: loads no tensor library; what cannot be known here stands in nobody's way.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archipel.model.config import DecoderConfig
from archipel.model.stock_config import StockConfig, stock_of
from archipel.planning.laws import holding
from archipel.planning.laws.holding import Held, Pass, Shape, Thrift
from archipel.records.recipe import Recipe

GB = 1e9
AnyConfig = DecoderConfig | StockConfig
MAX_SLOTS = 256
"""Sequences that an engine of ours samples at once (`EngineLimits`)."""
SHARED_ROW = 256
"""Row in which the trainer lets completions share a prompt (`training.packing`)."""
PROMPT_TOKENS = 512
"""Of a prompt that nobody has seen yet."""
LEAST_MICRO_BATCH = 64
RANK = 16
"""Of an adapter that is proposed where all weights do not fit."""
SAVINGS = (
    ("recompute_layers = true", "recompute"),
    ('moments = "8bit"', "eight_bit"),
    ('compute = "bfloat16"', "narrow"),
)
"""Of [memory], with their names in the formulas: that which changes no number first, and then the fewest bits."""
MAX_FILE_BYTES = 65_536
_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_MEMORY = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""(bound, in use) of a control group, versions 2 and 1."""


@dataclass(frozen=True)
class StockShape(Shape):
    """Of a model whose weights were counted in its files, because no formula knows its family."""

    counted: int = 0
    """Numbers in all weights; 0: nobody counted them."""

    @property
    def params(self) -> int:
        """Numbers in all weights."""
        return self.counted or super().params


def shape_of(config: AnyConfig) -> Shape:
    """What the formulas want to know of a model."""
    if isinstance(config, StockConfig):
        return _stock_shape(config)
    experts = config.experts
    return Shape(
        layers=config.num_layers,
        width=config.hidden_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_width=config.head_dim,
        inner=config.intermediate_size if experts is None else experts.width,
        vocabulary=config.vocab_size,
        tied=config.tie_embeddings,
        experts=0 if experts is None else experts.count,
        chosen=1 if experts is None else experts.chosen,
        feeds_adapter=experts is None,
    )


def _stock_shape(config: StockConfig) -> Shape:
    """By the names that the library gives to sizes in most families; what a family does not say is guessed."""
    stock = stock_of(config.fields).get_text_config()

    def size(*names: str, otherwise: int) -> int:
        found = (getattr(stock, name, None) for name in names)
        return next((each for each in found if type(each) is int and each > 0), otherwise)

    width = size("hidden_size", otherwise=1024)
    heads = size("num_attention_heads", otherwise=1)
    return StockShape(
        layers=size("num_hidden_layers", otherwise=24),
        width=width,
        heads=heads,
        kv_heads=size("num_key_value_heads", "num_attention_heads", otherwise=1),
        head_width=size("head_dim", otherwise=max(1, width // heads)),
        inner=size("intermediate_size", "ffn_dim", "n_inner", otherwise=4 * width),
        vocabulary=config.vocab_size,
        tied=bool(getattr(stock, "tie_word_embeddings", False)),
        counted=config.num_weights,
    )


def update_need(
    recipe: Recipe,
    config: AnyConfig,
    micro_batch: int | None = None,
    rank: int | None = None,
    thrift: Thrift | None = None,
) -> Held:
    """What the trusted role's process holds while it learns.

    micro_batch, rank, thrift: another `optimiser.micro_batch_tokens`, `adapter.rank` and [memory] than the recipe's.
    """
    run, new = recipe.run, recipe.sampling.max_new_tokens
    prompt = max(1, min(PROMPT_TOKENS, config.max_position_embeddings - new))
    is_ours = isinstance(config, DecoderConfig)
    shares = is_ours and prompt + new <= SHARED_ROW
    longest = SHARED_ROW if shares else prompt + new
    groups = run.groups_per_update * (1 + recipe.algorithm.refill)
    whole = groups * run.group_size * (prompt + new)
    tokens = min(max(micro_batch or recipe.optimiser.micro_batch_tokens, longest), whole)
    once = Pass(tokens, SHARED_ROW if shares else 0, tokens, longest)
    own = None if recipe.adapter is None else recipe.adapter.rank
    held = holding.update(
        shape_of(config), once, own if rank is None else rank, thrift or thrift_of(recipe)
    )
    if is_ours:
        return held
    # A network of others gives the logits of all sampled places at once.
    more = max(0, tokens - holding.MAX_LOGITS // config.vocab_size) * config.vocab_size
    return Held(held.states, held.working + holding.LOGITS_ALIVE * holding.FP32 * more)


def thrift_of(recipe: Recipe) -> Thrift:
    """The recipe's [memory] in the words of the formulas."""
    memory = recipe.memory
    return Thrift(
        narrow=memory.compute == "bfloat16",
        recompute=memory.recompute_layers,
        eight_bit=memory.moments == "8bit",
    )


def node_need(config: AnyConfig, sequences: int, length: int, dtype: str = "float32") -> Held:
    """What a node's process holds that samples so many sequences of so many tokens, prompts included."""
    at_once, most = min(sequences, MAX_SLOTS), min(length, config.max_position_embeddings)
    cached = holding.BF16 if dtype == "bfloat16" else holding.FP32
    return holding.sampling(shape_of(config), at_once, most, cached)


def run_node_need(recipe: Recipe, config: AnyConfig) -> Held:
    """The same of the largest lease of a run, by our engine in fp32."""
    sequences = recipe.lease.max_groups * recipe.run.group_size
    return node_need(config, sequences, PROMPT_TOKENS + recipe.sampling.max_new_tokens)


def shortage(
    what: str, need: Held, free: int | None, held: int = 0, otherwise: str = ""
) -> str | None:
    """One sentence with both numbers, if `need` is not there; None if it is, or nobody can tell.

    free: bytes. held: of `need`, what this process has already. otherwise: what would fit.
    """
    if free is None or need.peak - held <= free:
        return None
    advice = otherwise or "end other programs, or raise --max-memory-gb"
    return f"{what} needs {need.peak / GB:.1f} GB, this machine has {(free + held) / GB:.1f} GB free; {advice}"


def fitting(recipe: Recipe, config: AnyConfig, free: int) -> str:
    """What of this run could be learned in `free` bytes; what changes least of it first."""
    for words, change in _changes(recipe):
        need = update_need(recipe, config, **change)
        if need.peak <= free:
            hint = " ([adapter] in the recipe)" if "rank" in change else ""
            return f"{words} needs {need.peak / GB:.1f} GB{hint}"
    most_thrifty = Thrift(narrow=True, recompute=True, eight_bit=True)
    least = update_need(recipe, config, LEAST_MICRO_BATCH, thrift=most_thrifty)
    params = shape_of(config).params
    most = holding.most_params(free, least.peak, params)
    return (
        f"the model has {params / 1e6:.0f} million parameters, and about {most / 1e6:.0f} would fit "
        "with every saving of [memory]"
    )


def _changes(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """(words, arguments of `update_need`): fewer tokens at a time, then [memory], then less that is learned."""
    micro_batch = recipe.optimiser.micro_batch_tokens // 2
    while micro_batch >= LEAST_MICRO_BATCH:
        yield f"optimiser.micro_batch_tokens = {micro_batch}", {"micro_batch": micro_batch}
        micro_batch //= 2
    own, saved = thrift_of(recipe), list[str]()
    for words, part in SAVINGS:
        if not getattr(own, part):
            own = replace(own, **{part: True})
            saved.append(f"memory.{words}")
            yield " and ".join(saved), {"thrift": own}
    fewest = {"micro_batch": LEAST_MICRO_BATCH}
    if saved:
        also = [f"optimiser.micro_batch_tokens = {LEAST_MICRO_BATCH}", *saved]
        yield " and ".join(also), {"thrift": own, **fewest}
    if recipe.adapter is None:
        yield f"LoRA rank {RANK}", {"rank": RANK}
        if saved:
            also = [f"LoRA rank {RANK}", *also]
            yield " and ".join(also), {"rank": RANK, "thrift": own, **fewest}


def update_shortage(
    recipe: Recipe, config: AnyConfig, held: int = 0, there: int | None = None
) -> str | None:
    """Why this machine cannot learn from this run; None if it can, as far as one can tell.

    held: bytes that this process has already, of what it would need. there: free ones of an accelerator.
    """
    free, need = free_bytes() if there is None else there, update_need(recipe, config)
    if free is None:
        return None
    return shortage("learning", need, free, held, fitting(recipe, config, free + held))


def free_bytes() -> int | None:
    """What this process may still take: of the machine, its control groups and its own bound; None: unknown."""
    found = [each for each in (_available(), _own_bound(), *_grouped()) if each is not None]
    return max(0, min(found)) if found else None


def _available() -> int | None:
    """What Linux would give without swapping."""
    for line in _text(_PROC / "meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return _number(rest.removesuffix("kB"), 1024)
    return None


def _own_bound() -> int | None:
    """Address space that is left; None without a bound."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    mapped = _number(_text(_PROC / "self/statm").partition(" ")[0], os.sysconf("SC_PAGE_SIZE"))
    return None if mapped is None else limit - mapped


def _grouped() -> Iterator[int]:
    """What is left in this process's control groups."""
    for line in _text(_PROC / "self/cgroup").splitlines():
        kinds, _, path = line.partition(":")[2].partition(":")
        if kinds not in ("", "memory"):
            continue
        root = _GROUPS / kinds
        for folder in {root, root / path.strip("/")}:
            for bound, used in _MEMORY:
                most, now = _number(_text(folder / bound)), _number(_text(folder / used))
                if most is not None and now is not None:
                    yield most - now + _idle(folder)


def _idle(folder: Path) -> int:
    """Of what a control group uses, the files that nobody misses."""
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return _number(value) or 0
    return 0


def _number(text: str, unit: int = 1) -> int | None:
    words = text.strip()
    return int(words) * unit if words.isascii() and words.isdigit() else None


def _text(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return ""
