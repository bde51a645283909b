"""`archipel run open`: a recipe and weights become a run, if nothing is found that would stop it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from archipel.cli.doors import LAB, KeyName, Mendable, at_work, home_folder, mending, show
from archipel.cli.grouped import as_one
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import recipe_names
from archipel.cli.run_budget import Budget, budget_options, provide, spend
from archipel.cli.run_calibration import tell_audits
from archipel.cli.run_engine import CALIBRATION, keep, misfit, stated, tell_fleet
from archipel.cli.run_start import (
    First,
    Start,
    makes_its_start,
    start_options,
    started,
    text_of_run,
)

if TYPE_CHECKING:
    from archipel.records.recipe_form import RecipeForm
    from archipel.work.exact_default import Decision

MAX_NAMES_TRIED = 100


class Keys(NamedTuple):
    """Whose a run is, and who learns for it."""

    trust: tuple[str, ...]
    key: Path | None
    home: Path | None


key_options = as_one(
    "keys",
    Keys,
    click.option(
        "--trust",
        multiple=True,
        metavar="DID",
        type=KeyName(),
        help="Trusted role's key [this machine's].",
    ),
    click.option("--key", type=click.Path(path_type=Path), help="[~/.archipel/lab/operator.key]"),
    click.option(
        "--home",
        type=click.Path(path_type=Path),
        help="This machine's trusted role: its key, secrets and approvals [~/.archipel/update].",
    ),
)


@click.command("open")
@click.argument("recipe_name", metavar="RECIPE", shell_complete=recipe_names)
@start_options
@click.option("--name", help="Another name than the recipe's: a name is used once at a lab.")
@click.option("--seed", type=int, help="Another run seed: other tasks, in another order.")
@key_options
@budget_options
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved recipe and its digest; open nothing."
)
@click.option(
    "--unchecked",
    is_flag=True,
    help="Skip the checks of `archipel recipe check`: what the recipe needs lies elsewhere.",
)
@LAB
@JSON
def open_(
    recipe_name: str,
    name: str | None,
    seed: int | None,
    first: First,
    keys: Keys,
    budget: Budget,
    dry_run: bool,
    unchecked: bool,
    lab_url: str,
    as_json: bool,
) -> None:
    """Open a run of RECIPE (a TOML file, or the name of a shipped one).

    A recipe that does not state by which engine it is sampled is opened by the exact contract if the
    model has 10 million parameters or more, a variant of the contract is near enough, and it is not
    slower here; else by any engine. What was chosen, and why, is said in one line.

    \b
    Examples:
      archipel run open secret-order --weights start --dry-run
      archipel run open my.toml --weights start --trust did:key:z6Mk...
      archipel run open my.toml --from my@40 --name my-2 --seed 1
      archipel run open my-adapter.toml --weights start --adapter taught
      archipel run open my.toml --weights start --budget 50 --pay-in
      archipel run open pretrain                        a recipe that makes its first weights
    """
    recipe = _recipe(recipe_name, name, seed)
    if first == (None, None) and not makes_its_start(recipe):
        raise click.UsageError(
            "give --weights DIR (archipel sft RECIPE makes one, archipel model fetch and import bring one), or --from "
            "RUN@VERSION"
        )
    with started(*first, recipe, lab_url, keys.home) as start:
        _tell_rounding(start.weights)
        if not unchecked:
            _check(recipe, start, keys)
        if not dry_run:
            ask_lab(_refuse_used(lab_url, recipe.run.name))
            provide(lab_url, keys.key, recipe, *budget)
        before = None if first.earlier is None else first.earlier.partition("@")[0]
        recipe, why = stated(recipe, start.weights, keys.home, before, lab_url)
        if dry_run:
            click.echo(json.dumps(_resolved(recipe, start.weights) | _sampled(why), indent=2))
            return
        keep(why, start.weights)
        tell_fleet(lab_url, recipe)
        tell_audits(recipe, start.weights)
        receipt = _open(recipe, start, keys, lab_url)
        spend(lab_url, keys.key, recipe.run.name, budget.micro)
    told = {"run": recipe.run.name, "recipe": recipe.digest, **receipt.model_dump(mode="json")}
    told |= _sampled(why) | ({} if budget.micro is None else {"budget_micro": budget.micro})
    text = f"run {recipe.run.name} is open (ledger entry {receipt.index}); recipe {recipe.digest}"
    show(told, as_json, lambda: text)


def _recipe(place: str, name: str | None, seed: int | None) -> "RecipeForm":
    """The recipe with what the command line changes of its `[run]`."""
    from pydantic import ValidationError

    from archipel.cli.recipes import find_any_recipe

    recipe = find_any_recipe(place)
    changed = {"name": name, "seed": seed}
    run = recipe.run.model_dump() | {k: v for k, v in changed.items() if v is not None}
    try:
        header = type(recipe.run).model_validate(run)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise Mendable(f"--{where}: {fault['msg']} (got {fault['input']!r:.80})") from None
    return recipe.model_copy(update={"run": header})


def _check(recipe: "RecipeForm", start: Start, keys: Keys) -> None:
    """Every check that can be made before a node sees the run; all faults in one answer."""
    from archipel.cli.secrets import found_secret
    from archipel.records.recipe import Recipe
    from archipel.records.recipe_pretrain import PretrainRecipe

    at_work("making the first tasks, reading the weights (--unchecked skips this)")
    from archipel.work.opening import shortcomings as text_shortcomings
    from archipel.work.readiness import shortcomings

    secret, missing = found_secret(recipe, keys.home)
    found = list([] if keys.trust else missing)
    if isinstance(recipe, Recipe):
        found += shortcomings(
            recipe, start.weights, secret, adapter=start.adapter, learns_here=not keys.trust
        )
    elif isinstance(recipe, PretrainRecipe):
        found += text_shortcomings(recipe, start.weights, at_work)
    if found:
        faults = "\n  ".join(found)
        raise Mendable(
            f"this run would not work:\n  {faults}\n  (--unchecked opens it all the same)"
        )


def _tell_rounding(weights: Path) -> None:
    """What becomes of numbers that a run does not keep as they are."""
    from archipel.model.weight_files import rounding_note

    with mending(ValueError, OSError):
        note = rounding_note(weights)
    if note:
        click.echo(note, err=True)


def _resolved(recipe: "RecipeForm", weights: Path) -> dict[str, Any]:
    """What the lab would be told."""
    from archipel.node.opening import terms_and_pace

    beside = weights / CALIBRATION
    cited = beside if beside.exists() and CALIBRATION not in misfit(weights) else None
    with mending(OSError, ValueError):
        terms, pace = terms_and_pace(recipe, weights, cited, text_of_run(recipe, weights))
    parts = {"recipe": recipe, "terms": terms, "pace": pace}
    shown: dict[str, Any] = {name: part.model_dump(mode="json") for name, part in parts.items()}
    if "model" in shown["recipe"]:
        shown["recipe"]["model"] = f"not used: the weights in {weights} say what they are"
    return {"digest": recipe.digest, **shown}


def _sampled(why: "Decision | None") -> dict[str, Any]:
    """For machines: what was decided of the engine, if the recipe left it open."""
    return {} if why is None else {"sampled_by": {"variant": why.variant, "why": why.why}}


def _open(recipe: "RecipeForm", start: Start, keys: Keys, lab_url: str) -> Any:
    from archipel.cli.keys import operator_key
    from archipel.node.opening import Brought
    from archipel.node.operator import model_files, open_run

    with mending(OSError):
        identity = operator_key(keys.key)
        trusted = trusted_keys(recipe.digest, keys.trust, keys.home)
    with mending(OSError, ValueError):
        left_out = misfit(start.weights)
        files = [each for each in model_files(*start) if each.name not in left_out]
        brought = Brought(files, text_of_run(recipe, start.weights))
        return ask_lab(open_run(lab_url, identity, recipe, start.weights, trusted, brought))


async def _refuse_used(lab_url: str, name: str) -> None:
    """Before anything is sent: a lab takes a name once, whatever became of its run."""
    from archipel.node.client import LabReader
    from archipel.node.histories import run_or_none

    async with LabReader(lab_url) as lab:
        used = await run_or_none(lab, name)
        if used is None:
            return
        for number in range(2, MAX_NAMES_TRIED):
            free = f"{name[:57]}-{number}"
            if await run_or_none(lab, free) is None:
                break
    raise Mendable(
        f"a run {name} is there already and {used.phase}; open this one with --name {free}"
    )


def trusted_keys(
    recipe_digest: str, named: tuple[str, ...], given: Path | None = None
) -> tuple[str, ...]:
    """The keys of the trusted role; if this machine's is among them, it may do this recipe."""
    from archipel.cli.keys import name_of_key
    from archipel.node.approvals import approve

    home = home_folder("update", given)
    own = name_of_key(home / "node.key", make=True)
    trusted = named or (own,)
    if own in trusted:
        approve(home, recipe_digest)
    return trusted
