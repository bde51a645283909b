"""`archipel proofs calibrate`: thresholds for audits of floating-point results, from measurements."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from archipel.model.network import Decoder
    from archipel.model.tokenizer import Tokenizer
    from archipel.proofs.calibration import Model
    from archipel.proofs.record import Calibration, Pair

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_CHEAT = click.Choice(["older", "int8", "int4", "temperature", "noise"])
PROMPT_TOKENS = 16
MAX_PROMPTS = 64


@click.command("calibrate")
@click.argument("model", type=_FOLDER)
@click.option("--older", type=_FOLDER, help="The version before [one made-up step].")
@click.option("--recipe", "recipe_name", help="Prompts instead: a recipe's held-out tasks.")
@click.option("--secret-file", type=_FILE, help="The secret of the recipe's environment.")
@click.option("--text", type=_FILE, help="Prompts are cut from it [a few shipped pages].")
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(["fp32", "bf16"]),
    multiple=True,
    help="Only this one; repeatable.",
)
@click.option(
    "--engine",
    type=click.Choice(["archipel", "transformers"]),
    default="archipel",
    help="Who samples; the verifier is always our own network [archipel].",
)
@click.option(
    "--groups", type=click.IntRange(4, 10_000), help="Answers of each setting [20; quick: 8]."
)
@click.option("--rollouts", type=click.IntRange(1, 64), help="Of each answer [8].")
@click.option(
    "--length",
    "max_new_tokens",
    type=click.IntRange(2, 4096),
    help="Tokens of a rollout [32; quick: 24].",
)
@click.option("--temperature", type=click.FloatRange(0.01, 100), help="Of the run [1].")
@click.option(
    "--sequential",
    type=_CHEAT,
    multiple=True,
    help="Leave this cheat to the sequential test; repeatable.",
)
@click.option(
    "--headroom",
    type=click.FloatRange(1, 1000),
    help="Limits are so many times what honest answers reach [1.5].",
)
@click.option("--seed", type=click.IntRange(0, 2**62), help="Of all noise [1].")
@click.option("--key", type=_FILE, help="Sign the record with this key.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the record goes [nowhere].",
)
@click.option("--quick", is_flag=True, help="Fewer answers and settings: looser bounds.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    model: Path,
    older: Path | None,
    text: Path | None,
    recipe_name: str | None,
    secret_file: Path | None,
    engine: str,
    key: Path | None,
    out: Path | None,
    quick: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure how far honest provers and cheats of MODEL are from a verifier, and set thresholds.

    Honest: batch sizes, threads, dtypes, the engine against a prefill. Cheats: weights one version old, rounded to
    int8 and int4, another temperature, own noise. A pair of dtypes is refused where an answer of a cheat passes,
    unless that cheat is left to the sequential test; ends with 1 if no pair is left.

    \b
    Examples:
      archipel proofs calibrate trained --quick
      archipel proofs calibrate trained --older version-4 --sequential int8 --out thresholds.json
    """
    from dataclasses import replace

    from archipel.cli.doors import Mendable, mending, show
    from archipel.identity import IdentityError
    from archipel.model.config_files import InvalidModel
    from archipel.model.tokenizer_files import InvalidTokenizer
    from archipel.proofs.calibration import TooThin, calibrate
    from archipel.proofs.plan import QUICK, Plan

    if text is not None and recipe_name is not None:
        raise click.UsageError("--text and --recipe are two sources; give one of them")
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    plan = replace(QUICK if quick else Plan(), **chosen)

    def tell(words: str) -> None:
        if not as_json:
            click.echo(f"\r\033[K{words}", nl=False, err=True)

    with mending(OSError, InvalidModel, InvalidTokenizer, TooThin, ValueError):
        prompts = _Prompts(text, recipe_name, secret_file)
        subject = _model(model, older, prompts, engine)
        pairs = tuple(calibrate(subject, plan, tell))
        found = _record(model, pairs, plan, engine)
    tell("")
    show(found.model_dump(mode="json"), as_json, lambda: "\n".join(map(_about, pairs)))
    if not any(pair.usable for pair in pairs):
        raise Mendable(
            "honest and dishonest overlap in every pair: no record was written; see --sequential"
        )
    if out is not None:
        with mending(OSError, IdentityError):
            out.write_bytes(_signed(found, key))


@dataclass(frozen=True)
class _Prompts:
    """Where they come from; nothing given: the shipped pages."""

    text: Path | None
    recipe: str | None
    secret: Path | None

    def of(self, decoder: "Decoder", tokenizer: "Tokenizer") -> list[tuple[int, ...]]:
        """At most `MAX_PROMPTS`."""
        from archipel.cli.recipes import find_recipe
        from archipel.cli.secrets import given_secret
        from archipel.engine.noise import random_tokens
        from archipel.model.tokenizer import UnknownText
        from archipel.work.calibration import (
            lines_of_file,
            lines_of_recipe,
            lines_of_text,
            shipped_text,
        )

        config = decoder.config
        if self.recipe is not None:
            model = (config, tokenizer, dict(decoder.state_dict()))
            recipe, secret = find_recipe(self.recipe), given_secret(self.secret)
            return [line.prompt for line in lines_of_recipe(recipe, model, secret, MAX_PROMPTS)]
        size = min(PROMPT_TOKENS, config.max_position_embeddings // 2)
        if self.text is not None:
            lines = lines_of_file(self.text, tokenizer, config, MAX_PROMPTS)
            return [(*line.prompt, *line.tokens)[:size] for line in lines]
        try:
            lines = lines_of_text(shipped_text(), tokenizer, config, MAX_PROMPTS)
        except UnknownText:
            # A vocabulary of a toy's signs has no words of the shipped pages.
            return [
                random_tokens(1, number, size, config.vocab_size) for number in range(MAX_PROMPTS)
            ]
        return [(*line.prompt, *line.tokens)[:size] for line in lines]


def _model(path: Path, older: Path | None, prompts: _Prompts, engine: str) -> "Model":
    from archipel.model.directory import read_model
    from archipel.model.tokenizer import Tokenizer
    from archipel.proofs.calibration import Model

    decoder, tokenizer = read_model(path), Tokenizer.from_directory(path)
    state = dict(decoder.state_dict())
    before = None if older is None else dict(read_model(older).state_dict())
    network = path if engine == "transformers" else None
    given = prompts.of(decoder, tokenizer)
    return Model(decoder.config, state, given, network=network, older=before)


def _record(path: Path, pairs: "tuple[Pair, ...]", plan: Any, engine: str) -> "Calibration":
    import platform
    from dataclasses import asdict
    from datetime import UTC, datetime

    import torch

    from archipel.model.directory import read_model
    from archipel.model.manifest import describe
    from archipel.proofs.record import Calibration

    state = read_model(path, torch.bfloat16).state_dict()
    told = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(plan).items()}
    return Calibration(
        model=describe(state, version=0, parent=None).state,
        machine=f"{platform.machine()} {platform.system()}, torch {torch.__version__}, engine {engine}",
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        confidence=plan.confidence,
        plan=told,
        pairs=pairs,
    )


def _signed(found: "Calibration", key: Path | None) -> bytes:
    """The record, in an envelope where there is a key."""
    from archipel.cli.keys import load_key
    from archipel.identity import sign
    from archipel.proofs.record import RECORD_TYPE

    data = found.to_bytes()
    return data if key is None else sign(load_key(key), data, RECORD_TYPE).to_json()


def _about(pair: "Pair") -> str:
    said = "thresholds set" if pair.usable else f"REFUSED: {', '.join(pair.overlaps)} overlap"
    lines = [
        f"prover {pair.prover}, verifier {pair.verifier}: {said}",
        f"  {pair.honest} honest answers; one audit accuses an honest one with a chance of at most {pair.false_at_most:.3f}",
    ]
    for name, each in pair.cheats.items():
        by = ", ".join(f"{figure} {count}" for figure, count in each.by.items())
        plain = each.caught if each.plainly is None else each.plainly
        printed = f", {plain} of them without fingerprints" if plain < each.caught else ""
        lines.append(
            f"  {name:<12} {each.caught}/{each.answers} caught (at least {each.at_least:.2f}){printed}; {by or 'by nothing'}"
        )
    for name, watch in pair.watched.items():
        lines.append(
            f"  {name:<12} one after the other: {watch.figure} > {watch.border:.3g} in {watch.cheat:.2f} of a cheat's, "
            f"{watch.honest:.2f} of honest answers"
        )
    return "\n".join(lines)
