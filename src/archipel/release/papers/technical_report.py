"""papers/technical-report.md: how the model was built, in full, from the recipe and the ledger. Pure."""

from archipel.release.facts import Facts, VersionFact
from archipel.release.index import Released
from archipel.release.papers import tables
from archipel.release.papers.stages import stages_of
from archipel.release.papers.wording import (
    ROWS_SHOWN,
    UNKNOWN,
    first_rows,
    number,
    paper,
    quoted,
    table,
    time_of,
    title_of,
)
from archipel.release.stated import Stated

NOT_SHOWN = (
    "That whoever held a key was who they said: the ledger knows keys.",
    "That the secret of the environment, if it has one, was kept while the run went on.",
    "What the model can do beyond the tasks that it was evaluated on.",
    "What energy was used where nobody measured it.",
)


def technical_report(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The report."""
    return paper(
        [
            f"# {quoted(title_of(facts, stated))}: technical report",
            _abstract(facts),
            "## 1. Architecture",
            f"{quoted(facts.architecture)}. {number(facts.parameters)} parameters, a context of {number(facts.context_tokens)} tokens.",
            "## 2. Training",
            _training(facts),
            "### Settings",
            "Every setting of the recipe, those that stood at their default included.",
            table(["Setting", "Value"], [[f"`{k}`", quoted(v)] for k, v in tables.settings(facts)]),
            "## 3. Data",
            tables.data(facts, stated),
            "## 4. Stages",
            _stages(facts),
            "## 5. Versions",
            first_rows(
                _versions(facts), ["Version", "Published", "State digest", "Whole"], "versions"
            ),
            "## 6. Evaluation",
            tables.evaluations(facts),
            "## 7. Machines, software and cost",
            _machines(facts),
            tables.cost(facts),
            "## 8. Parties",
            tables.parties(facts),
            "## 9. Works taken out",
            _withdrawn(facts),
            "## 10. What is not shown",
            "\n".join(
                f"- {each}" for each in (*NOT_SHOWN, *map(quoted, index.missing if index else ()))
            ),
        ]
    )


def _abstract(facts: Facts) -> str:
    first, last = facts.versions[0], facts.versions[-1]
    tokens = sum(each.tokens for each in facts.parties)
    return (
        f"The run `{facts.run}` published {number(len(facts.versions))} versions between {time_of(first.at_ms)} and "
        f"{time_of(last.at_ms)}. {number(len(facts.parties))} parties sampled {number(tokens)} tokens of it. Every statement "
        f"of this report follows from {number(facts.tree_size)} ledger entries under the root `{facts.tree_root}` "
        f"(origin `{quoted(facts.origin)}`) and from the recipe `{facts.recipe_digest}`; the lab is `{facts.lab}`."
    )


def _training(facts: Facts) -> str:
    recipe = facts.recipe
    run, sampling = recipe.run, recipe.sampling
    return (
        f"{tables.start(facts)}\n\nThen {number(run.versions)} updates of reinforcement learning: {recipe.algorithm.name} turns the rewards of "
        f"{number(run.group_size)} rollouts of one prompt into advantages, {recipe.loss.name} turns them into a gradient, "
        f"AdamW takes a step from {number(run.groups_per_update)} groups. Rollouts are at most "
        f"{number(run.max_staleness)} versions old, of at most {number(sampling.max_new_tokens)} tokens, sampled at "
        f"temperature {sampling.temperature:g}. The seed {run.seed} decides everything random."
    )


def _stages(facts: Facts) -> str:
    rows = [
        [
            each.name,
            f"{each.versions[0].number} to {each.versions[-1].number}",
            f"`{each.author}`",
            number(len(each.inputs)),
        ]
        for each in stages_of(facts)
    ]
    return first_rows(rows, ["Stage", "Versions", "By", "Works that went in"], "stages")


def _versions(facts: Facts) -> list[list[str]]:
    return [_row(each) for each in sorted(facts.versions, key=lambda each: -each.number)]


def _row(version: VersionFact) -> list[str]:
    whole = "yes" if version.anchor is not None else "as a delta"
    return [number(version.number), time_of(version.at_ms), f"`{version.weights}`", whole]


def _machines(facts: Facts) -> str:
    software = ", ".join(map(quoted, facts.software[:ROWS_SHOWN])) or UNKNOWN
    contract = facts.contract or "none: floating point"
    return f"Software that nodes and trusted roles said they run: {software}\n\nExact contract: {quoted(contract)}."


def _withdrawn(facts: Facts) -> str:
    rows = [[quoted(work), quoted(why)] for work, why in sorted(facts.withdrawn.items())]
    return first_rows(rows, ["Work", "Why"], "works") if rows else "None."
