"""`archipel exact trace`: every intermediate value of one rollout, written down."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archipel.cli.doors import mending, show
from archipel.cli.outputs import NewFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from archipel.model.config import DecoderConfig
    from archipel.model.manifest import Manifest

MODEL = click.argument("model", type=click.Path(path_type=Path, file_okay=False, exists=True))


class Version(NamedTuple):
    """A model directory's weights."""

    config: "DecoderConfig"
    state: "Mapping[str, Tensor]"
    manifest: "Manifest"


def read_version(model: Path) -> Version:
    """Of a directory.

    Raises:
        Mendable: it is none, or its weights are no bf16 numbers.
    """
    import torch

    from archipel.engine.exact.arithmetic import ExactArithmetic
    from archipel.engine.exact.variants import VARIANTS
    from archipel.model.directory import InvalidModel, read_model
    from archipel.model.manifest import describe

    with mending(InvalidModel, ValueError):
        decoder = read_model(model)
        state = dict(decoder.named_parameters())
        cheapest = next(iter(VARIANTS.values()))
        ExactArithmetic(decoder.config, cheapest, torch.device("cpu")).check_weights(state)
        held = {name: each.detach().to(torch.bfloat16) for name, each in state.items()}
        return Version(decoder.config, held, describe(held, 0, None))


@click.command()
@MODEL
@click.argument("question", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("out", type=NewFile(".safetensors"))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(model: Path, question: Path, out: Path, as_json: bool) -> None:
    """Compute one rollout with MODEL and write every intermediate value to OUT, for `exact bisect`.

    QUESTION is a JSON file: contract, weights (a version's state digest), prompt, tokens, seed, rollout and
    temperature, as docs/reference/exact-disputes.md says. What is printed is the commitment: whoever has
    said it cannot say other values later.

    \b
    Examples:
      archipel exact trace model question.json mine.safetensors
    """
    from archipel.engine.exact.trace import BadQuestion, traced
    from archipel.engine.exact.trace_files import read_question, write_trace

    with mending(BadQuestion, ValueError, OSError):
        asked = read_question(question)
        version = read_version(model)
        if asked.weights != version.manifest.state:
            raise BadQuestion(
                f"the question is of weights {asked.weights}; {model} holds {version.manifest.state}"
            )
        trace = traced(version.config, version.state, asked)
        write_trace(out, trace)
        root = trace.tree().root.hex()
    equal = trace.values[-1][:, 0].astype(int).tolist() == list(asked.tokens)
    facts = {"question": asked.digest, "root": root, "tokens_equal": equal}
    show(facts, as_json, lambda: "\n".join(_lines(facts, out)))


def _lines(facts: dict[str, object], out: Path) -> list[str]:
    told = (
        "these are the recorded tokens" if facts["tokens_equal"] else "other tokens were recorded"
    )
    return [f"question {facts['question']}", f"root {facts['root']}", f"{told}; written to {out}"]
