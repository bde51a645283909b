"""`archipel serve calibrate`: when a small model's answer will do, learned from questions of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.names import recipe_names
from archipel.cli.serve_pair import loaded_pair, pair_options, with_loading
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.serve.cascade.policy import Policy
    from archipel.serve.cascade.probes import Probe


@click.command("calibrate")
@pair_options
@click.option(
    "--questions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON object a line: question (or messages) and answer; check, where it is another than --check.",
)
@click.option(
    "--check",
    type=click.Choice(["exact", "contains", "number"]),
    default="exact",
    show_default=True,
    help="When an answer is right: its last line, or what follows ####, is the same; it contains it; its last number is "
    "the same.",
)
@click.option(
    "--recipe",
    "recipe_name",
    shell_complete=recipe_names,
    help="Instead of --questions: held-out tasks of this recipe's environment, graded by it.",
)
@click.option(
    "--tasks",
    default=500,
    show_default=True,
    type=click.IntRange(20, 100_000),
    help="How many of a recipe's.",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1),
    help="Share of the large model's gain over the small one to keep, asking it as seldom as that allows [0.8].",
)
@click.option(
    "--ask-large",
    type=click.FloatRange(0, 1),
    help="Instead: share of questions that may go to the large model.",
)
@click.option(
    "--max-new-tokens",
    default=256,
    show_default=True,
    type=click.IntRange(1, 65536),
    help="Longest answer.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    models: tuple[str, ...],
    questions: Path | None,
    check: Any,
    recipe_name: str | None,
    tasks: int,
    keep: float | None,
    ask_large: float | None,
    max_new_tokens: int,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask both models questions whose answers are known, and write when the small one's answer will do.

    Each is asked greedily, one question at a time, and timed. From a few hundred questions a gate (over the small
    model's own hidden state) and a confidence (over its answer's token log-probabilities) are fitted, and the threshold
    for the wish is chosen on answers that neither was fitted on. After Ctrl-C the same command goes on; what is kept
    meanwhile, in OUT.partial, holds no word of questions or answers.

    \b
    Examples:
      archipel serve calibrate small=0.5B large=7B --questions mine.jsonl --out policy.json
      archipel serve calibrate small=0.5B large=7B --recipe gsm8k --ask-large 0.3 --out policy.json
    """
    if (questions is None) is (recipe_name is None):
        raise click.UsageError("give either --questions or --recipe")
    if keep is not None and ask_large is not None:
        raise click.UsageError("give either --keep or --ask-large")
    from archipel.cli.doors import at_work, mending, show
    from archipel.serve.cascade.choosing import Wish
    from archipel.serve.cascade.fitting import TooLittle
    from archipel.serve.cascade.measuring import BadJournal
    from archipel.serve.cascade.probes import BadProbes
    from archipel.serve.question import Refusal

    wish = Wish("quality", 0.8 if keep is None else keep)
    if ask_large is not None:
        wish = Wish("share", ask_large)
    with mending(BadProbes, BadJournal, TooLittle, Refusal, ValueError, OSError):
        probes = _probes(questions, check, recipe_name, tasks)
        at_work("loading")
        policy = _calibrated(models, probes, max_new_tokens, wish, out, given)
    show(policy.measured.model_dump(), as_json, lambda: _said(policy, out))


def _probes(
    questions: Path | None, check: Any, recipe_name: str | None, tasks: int
) -> "list[Probe]":
    from archipel.serve.cascade.probes import probes_of, read_probes

    if questions is not None:
        return read_probes(questions, check)
    from archipel.cli.recipes import find_recipe
    from archipel.training.environments.environment import make_environment, require_gradable

    recipe = find_recipe(str(recipe_name))
    require_gradable(recipe.environment, None)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    return probes_of(recipe, environment, "dev", tasks)


def _calibrated(
    models: tuple[str, ...],
    probes: "list[Probe]",
    max_new_tokens: int,
    wish: Any,
    out: Path,
    given: dict[str, Any],
) -> "Policy":
    import asyncio

    from archipel.serve.cascade.choosing import calibrated
    from archipel.serve.cascade.fitting import fit
    from archipel.serve.cascade.measuring import Journal, evidence_of, measure
    from archipel.serve.cascade.policy import write_policy

    pair = loaded_pair(models, max_new_tokens, given)
    try:
        partial = out.with_name(out.name + ".partial")
        journal = Journal(partial, f"{pair.digest} {pair.large_digest} {max_new_tokens}")
        telling = _Telling(len(probes))
        try:
            rows = asyncio.run(
                measure(probes, pair.small, pair.large, journal, max_new_tokens, telling.row)
            )
        except KeyboardInterrupt:
            click.echo("stopped; the same command goes on", err=True)
            raise
        evidence = evidence_of(rows)
        policy = calibrated(evidence, fit(evidence), wish, pair.models)
        write_policy(out, policy)
        partial.unlink()
        return policy
    finally:
        pair.close()


class _Telling:
    """How far it is, every two seconds."""

    def __init__(self, num: int) -> None:
        self._num, self._tell = num, seldom()
        self._small, self._large = list[float](), list[float]()

    def row(self, row: Any) -> None:
        self._small.append(row.small)
        self._large.append(row.large)
        count = len(self._small)
        self._tell(
            f"{count} of {self._num} questions, right so far: small {sum(self._small) / count:.2f}, large "
            f"{sum(self._large) / count:.2f}"
        )


def _said(policy: "Policy", out: Path) -> str:
    told = policy.measured
    gain = told.large_quality - told.small_quality
    kept = f" ({(told.quality - told.small_quality) / gain:.0%} of the gain)" if gain > 0 else ""
    seconds = (
        told.gate_s + (1 - told.straight) * told.small_s + told.share * told.large_s
    ) / told.large_s
    return (
        f"{out}: {told.questions} questions; right alone: small {told.small_quality:.3f}, large {told.large_quality:.3f}\n"
        f"together {told.quality:.3f}{kept} with {told.share:.0%} of questions to the large model ({told.straight:.0%} "
        f"straight), in about {seconds:.2f} of its seconds; calibration error {told.calibration_error:.3f}"
    )


with_loading(command)
