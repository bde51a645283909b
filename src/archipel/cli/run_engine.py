"""By which engine a run is sampled, said when it is opened: what its recipe states, or what was found out.

Parts: `stated`, `keep` (what was measured), `misfit` (a choice that speaks of other weights), `tell_fleet`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.lab_door import ask_lab
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.recipe_form import RecipeForm
    from archipel.work.exact_default import Decision

AT_WORK_S = 60.0
"""A node that the lab heard of within this time counts as there."""
MOST_NODES = 1000
SAMPLING = "rollout"
CALIBRATION = "calibration.json"
"""As `work.measuring.CALIBRATION` has it."""
CHOICE = "exact.json"
"""As `engine.exact.choice.FILE` has it."""


def stated(
    recipe: "RecipeForm", weights: Path, role: Path | None, earlier: str | None, lab_url: str
) -> "tuple[RecipeForm, Decision | None]":
    """The recipe with its engine stated, and why that one; None if the recipe said so itself.

    role: the trusted role's folder; earlier: the run that this one goes on from.
    """
    from archipel.cli.secrets import found_secret
    from archipel.records.recipe import Recipe

    if not isinstance(recipe, Recipe) or recipe.sampling.engine != "auto":
        return recipe, None
    from archipel.work.exact_default import Decision, as_before, by_size, of_adapters, of_backend

    called, decision = str(weights), of_backend(recipe.model.backend)
    if decision is None and (narrowed := recipe.sampling.narrowed):
        why = f"exact samples from the whole distribution, which {narrowed} narrows"
        decision = Decision(None, why)
    elif decision is None and earlier is not None:
        called, decision = "DIR", as_before(earlier, ask_lab(_contract_of(lab_url, earlier)))
    if decision is None and recipe.adapter is not None:
        decision = of_adapters()
    decision = decision or by_size(weights, called)
    if decision is None:
        from archipel.work.exact_finding import find_out

        secret, _ = found_secret(recipe, role)
        decision = find_out(recipe, weights, secret, _progress, called)
        _progress("")
    click.echo(f"sampled by {decision}", err=True)
    return recipe.by_variant(decision.variant), decision


def keep(decision: "Decision | None", weights: Path) -> None:
    """What was measured goes beside the weights, from where it travels with version 0."""
    from archipel.engine.exact.choice import write_choice

    if decision is None or decision.measured is None:
        return
    try:
        path = write_choice(weights, decision.measured)
    except OSError as error:
        said = f"what was measured stays here: {weights} cannot be written ({error.strerror})"
        click.echo(f"{said}; it would travel with the run as exact.json", err=True)
    else:
        click.echo(f"wrote {path}", err=True)


def misfit(weights: Path) -> tuple[str, ...]:
    """Names of files that may not travel: an exact choice, or a calibration, of other weights, say."""
    checks = {CHOICE: _check_choice, CALIBRATION: _check_calibration}
    found = []
    for name in (name for name in checks if (weights / name).exists()):
        try:
            checks[name](weights)
        except (
            ValueError,
            OSError,
        ) as error:  # a directory that is no model is opened with --unchecked
            click.echo(f"{name} stays at home: {error}", err=True)
            found.append(name)
    return tuple(found)


def _check_choice(weights: Path) -> None:
    from archipel.work.exact_check import choice_beside

    choice_beside(weights)


def _check_calibration(weights: Path) -> None:
    """Raises ValueError: it is of other weights."""
    from archipel.proofs.record import BadCalibration, Calibration
    from archipel.work.calibrated import opened
    from archipel.work.exact_check import read, state_of

    record = opened((weights / CALIBRATION).read_bytes()).record
    found, own = Calibration.from_bytes(record), state_of(read(weights))
    if found.model != own:
        raise BadCalibration(f"it is of {found.model}, the weights are {own}; calibrate again")


def tell_fleet(lab_url: str, recipe: "RecipeForm") -> None:
    """Of a run by the exact contract, or by one engine: whether anybody is there who can do it."""
    from archipel.records.recipe import Recipe

    sampling = recipe.sampling if isinstance(recipe, Recipe) else None
    contract = None if sampling is None else sampling.contract or sampling.engine_class
    if contract is None:
        return
    able, others = ask_lab(_fleet(lab_url, contract))
    if said := _fleet_words(able, others, contract):
        click.echo(said, err=True)


def _fleet_words(able: int, others: int, contract: str) -> str:
    """Of nodes at work, `able` of which stated the contract; nothing if all did."""
    if able:
        there = f"{able} of {able + others} nodes at work stated"
        return f"{there} {contract}; the others get none of it" if others else ""
    there = f"{counted(others, 'node is', 'nodes are')} at work, but none" if others else "no node"
    return (
        f"{there} stated {contract}: rollouts wait for one that does; `archipel node join` says at its start "
        "what a machine can do, `archipel run why-stuck` who is there"
    )


async def _fleet(lab_url: str, contract: str) -> tuple[int, int]:
    """Nodes at work that sample: those that stated the contract or class, and the others."""
    from archipel.node.client import LabReader
    from archipel.records.documents import NodeView

    async with LabReader(lab_url) as lab:
        nodes = await lab.read_all(NodeView, "/nodes", limit=MOST_NODES)
    there = [
        node
        for node in nodes
        if SAMPLING in node.kinds and node.present and (node.leases or node.silent_s < AT_WORK_S)
    ]
    able = sum(contract in (*node.exact, *node.classes) for node in there)
    return able, len(there) - able


async def _contract_of(lab_url: str, run: str) -> str | None:
    """Of a run, in its operator's own words."""
    from archipel.node.client import LabReader
    from archipel.node.histories import RunReader

    async with LabReader(lab_url) as lab:
        return (await RunReader(lab, run).opening()).pace.exact


def _progress(words: str) -> None:
    """On one line, where somebody watches."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r\033[K{words}", nl=False, err=True)
