"""What it costs that an answer has to be a document of a JSON schema: decode steps with the schema beside steps without, paired.

Parts: `Plan`, `Document`s, `measure`, `table`. One engine holds the model; the same prompts are gone on with by as many
sequences, once bent by a schema's masks and once by nothing, in an order drawn anew in each round. Prompts are read
before the clock runs, and no document can be over before the steps are. What it does not show: what is said is other
text either way, so nothing about quality; nor a question's first token, which compiling waits for (told beside).
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_of_seeds
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.quantised.arithmetic import Weights
from archipel.model.tokenizer import Tokenizer
from archipel.records.requests import Request
from archipel.serve.grammar import Grammars
from archipel.serve.loading import Numbers, load
from archipel.serve.question import Bends, Form
from archipel.serve.steering import Mask, Steered
from archipel.work.folders import folder_of

CACHE_BYTES = 2**30
MANY = 1000
"""Parts of a document, so that it goes on for longer than anybody looks."""
AIM = 0.05
"""What a schema may cost of a step."""
_ROW = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["cat", "dog", "bird"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tame": {"type": "boolean"},
    },
    "required": ["name", "kind", "age", "tame"],
    "additionalProperties": False,
}  # fmt: skip
DOCUMENTS: dict[str, dict[str, Any]] = {
    "records": {"type": "array", "minItems": MANY, "items": _ROW},
    "one long text": {"type": "string", "minLength": 100 * MANY},
    "dates by a pattern": {
        "type": "array",
        "minItems": MANY,
        "items": {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]$"},
    },
}
"""Schemas by what they are called."""
Tell = Callable[[str], None]
Found = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    clients: tuple[int, ...] = (1, 4, 16)
    rounds: int = 7
    steps: int = 48
    """That the clock runs over."""
    prompt: int = 16
    """Tokens of each."""
    threads: int = 1
    weights: Weights | str = "auto"


QUICK = Plan(clients=(1, 4), rounds=3, steps=16)


@dataclass(eq=False)
class _Timed(Mask):
    """Another's, with what it took."""

    mask: Mask
    spent: list[float]

    def leave(self, logits_V: torch.Tensor) -> bool:
        """See `Mask.leave`."""
        return bool(self._clocked(self.mask.leave, logits_V))

    def took(self, token: int) -> None:
        """See `Mask.took`."""
        self._clocked(self.mask.took, token)

    def _clocked(self, what: Callable[[Any], Any], given: Any) -> Any:
        began = time.thread_time()
        found = what(given)
        self.spent[0] += time.thread_time() - began
        return found


def measure(model: Path, plan: Plan, tell: Tell, found: Found) -> None:
    """Everything that the plan names, into `found` as it comes.

    Raises:
        InvalidModel, InvalidTokenizer: it cannot be used. NotOffered: documents cannot be asked of it.
    """
    torch.set_num_threads(plan.threads)
    folder = folder_of(model)
    numbers = Numbers(plan.weights)  # type: ignore[arg-type]
    loaded = load(folder, numbers, EngineLimits.serving(CACHE_BYTES))
    engine, vocabulary = loaded.engine, loaded.config.vocab_size
    grammars = Grammars(Tokenizer.from_directory(folder.model), vocabulary)
    tell(f"{model.name} held as {loaded.weights}")
    began = time.perf_counter()
    grammars.masks(Form.of({"type": "object"}, "schema"))
    found |= {
        "model": model.resolve().name, "held_as": loaded.weights, "vocabulary": vocabulary, "threads": plan.threads,
        "vocabulary_s": time.perf_counter() - began, "rows": [],
    }  # fmt: skip
    for name, schema in DOCUMENTS.items():
        began = time.perf_counter()
        made = grammars.masks(Form.of(schema, "schema"))
        compiled_s = time.perf_counter() - began
        for clients in plan.clients:
            row = {"document": name, "clients": clients, "compiled_s": compiled_s}
            row |= {"free_s": [], "bent_s": [], "mask_s": [], "free_cpu_s": [], "bent_cpu_s": []}
            for number in range(plan.rounds + 1):
                _round(engine, made, plan, f"{name} {clients} {number}", row if number else None)
            found["rows"].append(row)
            tell(f"{name}, {clients} at once: {overhead(row)}")


def _round(
    engine: LocalEngine,
    made: Callable[[], Mask],
    plan: Plan,
    seed: str,
    row: dict[str, Any] | None,
) -> None:
    """Both sides once; row: None: to warm up."""
    draw = random.Random(seed)  # noqa: S311  no secret
    clients = 1 if row is None else row["clients"]
    low, high = engine.config.vocab_size // 4, engine.config.vocab_size
    prompts = [tuple(draw.randrange(low, high) for _ in range(plan.prompt)) for _ in range(clients)]
    sides = ["free", "bent"]
    draw.shuffle(sides)
    for side in sides:
        spent = [0.0]

        def timed(spent: list[float] = spent) -> Mask:
            return _Timed(made(), spent)

        wall, cpu = _steps(engine, prompts, plan.steps, timed if side == "bent" else None, spent)
        if row is not None:
            row[f"{side}_s"].append(wall)
            row[f"{side}_cpu_s"].append(cpu)
            if side == "bent":
                row["mask_s"].append(spent[0] / plan.steps)


def _steps(
    engine: LocalEngine,
    prompts: list[tuple[int, ...]],
    steps: int,
    made: Callable[[], Mask] | None,
    spent: list[float],
) -> tuple[float, float]:
    """Seconds of a step in which all of them get a token, by the wall and of the processor."""
    tickets = []
    for number, prompt in enumerate(prompts):
        steered = None if made is None else Steered(Bends(), made, ())
        request = Request(
            "", prompt, seed=number, num_rollouts=1, max_new_tokens=steps + len(prompts) + 8, steering=steered
        )  # fmt: skip
        tickets.append(engine.add(request))
    begun = set[Any]()
    while len(begun) < len(tickets):
        begun |= {event.ticket for event in engine.step()}
    spent[0] = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        said = len(engine.step())
        if said != len(tickets):
            raise RuntimeError(f"{said} tokens of a step; expected {len(tickets)}")
    took = time.perf_counter() - wall, time.process_time() - cpu
    for ticket in tickets:
        engine.cancel(ticket)
    return took[0] / steps, took[1] / steps


def overhead(row: dict[str, Any], clock: str = "_cpu_s") -> MeanOfSeeds:
    """What the schema adds to a step, as a share of it, round by round: mean, and Student's interval."""
    pairs = zip(row[f"bent{clock}"], row[f"free{clock}"], strict=True)
    return mean_of_seeds([bent / free - 1.0 for bent, free in pairs])


def table(found: Found) -> str:
    """For people."""
    if not found.get("rows"):
        return NOTHING_YET
    lines = [
        f"{found['model']} held as {found['held_as']}, {found['vocabulary']:,} tokens, threads {found['threads']}; the "
        f"library reads the vocabulary once, in {found['vocabulary_s']:.2f} s",
        "",
        f"{'document':<20}{'at once':>8}{'compiled ms':>13}{'step ms':>10}{'masks ms':>10}{'':>4}"
        f"{'added, processor':<28}{'added, wall':<28}",
    ]
    for row in found["rows"]:
        free, mask = statistics.median(row["free_cpu_s"]), statistics.median(row["mask_s"])
        lines.append(
            f"{row['document']:<20}{row['clients']:>8}{1000 * row['compiled_s']:>13.1f}{1000 * free:>10.1f}"
            f"{1000 * mask:>10.2f}{'':>4}{overhead(row)!s:<28}{overhead(row, '_s')!s:<28}"
        )
    worst = max(overhead(row).mean for row in found["rows"])
    end = f"at most {worst:.1%} of a step's processor time (aim {AIM:.0%}); means of {len(found['rows'][0]['free_s'])} rounds"
    return "\n".join([*lines, "", end])
