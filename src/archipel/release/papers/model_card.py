"""README.md: the front matter that model hubs read, and what the ledger knows of the model, for people. Pure."""

import re
from typing import Final

from archipel.plurals import counted
from archipel.release.facts import Facts
from archipel.release.index import Parent, Released
from archipel.release.papers import tables
from archipel.release.papers.stages import evaluations_of, stages_of
from archipel.release.papers.wording import (
    UNKNOWN,
    day_of,
    hex_of,
    licence_of,
    number,
    paper,
    quoted,
    said,
    table,
    title_of,
    yaml_value,
)
from archipel.release.stated import Stated

HUB_LICENCES: Final = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "BSD-2-Clause": "bsd-2-clause",
    "BSD-3-Clause": "bsd-3-clause",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "GPL-3.0-only": "gpl-3.0",
    "AGPL-3.0-only": "agpl-3.0",
    "MPL-2.0": "mpl-2.0",
    "Unlicense": "unlicense",
}
"""SPDX id -> what the hub calls it; all others are `other` with a name and a link."""
_RELATIONS: Final = {
    "fine-tuned from": "finetune",
    "adapter of": "adapter",
    "merged from": "merge",
}
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_HUB_NAME = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


def model_card(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The card: front matter, what it is, how and by whom it was made, how good, what of, what is unknown."""
    return paper(
        [
            front_matter(facts, stated, index),
            f"# {quoted(title_of(facts, stated))}",
            _what(facts),
            "## How to check this card",
            _checking(facts),
            "## How it was made",
            _making(facts, index),
            "## Who made it",
            tables.parties(facts),
            "## Evaluation",
            tables.evaluations(facts),
            "## What it was trained on",
            tables.data(facts, stated),
            "## Cost",
            tables.cost(facts),
            *_owner(facts, stated),
            "## Licence",
            _licence(stated, index),
            *_missing(index),
        ]
    )


def front_matter(facts: Facts, stated: Stated, index: Released | None) -> str:
    """YAML between two lines of dashes, every text quoted."""
    lines = ["---", *_licence_lines(licence_of("parameters", stated, index))]
    languages = [each for each in stated.languages if _LANGUAGE.fullmatch(each)]
    if languages:
        lines += ["language:", *(f"- {each}" for each in languages)]
    parents = [each for each in index.parents if _HUB_NAME.fullmatch(each.name)] if index else []
    if parents:
        lines += ["base_model:", *(f"- {yaml_value(each.name)}" for each in parents)]
        lines += _relation(parents)
    lines += ["library_name: transformers", "pipeline_tag: text-generation", "tags:"]
    lines += ["- archipel", "- reinforcement-learning", "- reproducible"]
    return "\n".join([*lines, *_model_index(facts, stated), "---"])


def _licence_lines(licence: str | None) -> list[str]:
    if licence is None:
        return ["license: unknown"]
    if licence in HUB_LICENCES:
        return [f"license: {HUB_LICENCES[licence]}"]
    first = licence.split(" AND ")[0]
    return [
        "license: other",
        f"license_name: {yaml_value(licence.lower())}",
        f"license_link: {yaml_value(f'LICENSES/{first}.txt')}",
    ]


def _relation(parents: list[Parent]) -> list[str]:
    found = {_RELATIONS.get(each.relation) for each in parents}
    only = found.pop() if len(found) == 1 else None
    return [f"base_model_relation: {only}"] if only else []


def _model_index(facts: Facts, stated: Stated) -> list[str]:
    """The last version's results, as hubs show them."""
    of_last = [each for each in evaluations_of(facts) if each.version == facts.versions[-1].number][
        -1:
    ]
    if not of_last or not of_last[0].metrics:
        return []
    name = yaml_value(facts.recipe.environment.name)
    lines = ["model-index:", f"- name: {yaml_value(title_of(facts, stated))}", "  results:"]
    lines += ["  - task:", "      type: text-generation", "    dataset:"]
    lines += [f"      name: {name}", f"      type: {name}", "    metrics:"]
    for metric, value in sorted(of_last[0].metrics.items()):
        lines += [f"    - type: {yaml_value(metric)}", f"      value: {value:.10g}"]
    return lines


def _what(facts: Facts) -> str:
    last = facts.versions[-1]
    rows = [
        ["Architecture", quoted(facts.architecture)],
        ["Parameters", number(facts.parameters)],
        ["Context in tokens", number(facts.context_tokens)],
        ["Version", f"{number(last.number)}, published {day_of(last.at_ms)}"],
        ["State digest", f"`{last.weights}`"],
        ["Run", f"`{facts.run}` at the lab `{facts.lab}`"],
    ]
    return table(["Model", ""], rows)


def _checking(facts: Facts) -> str:
    return (
        "All but the owner's own words was written by a program from a ledger that lies in `ledger/`: "
        f"{number(facts.tree_size)} signed entries under the root `{facts.tree_root}`. Nobody needs to believe it: "
        "`archipel release verify .` replays it without a network, `archipel release rebuild . --stage all` computes "
        "the stages again, and `archipel trace .` lists what shaped the weights. "
        "[The technical report](papers/technical-report.md) and [the data card](papers/data-card.md) say more."
    )


def _making(facts: Facts, index: Released | None) -> str:
    recipe = facts.recipe
    first, last = facts.versions[0], facts.versions[-1]
    contract = (
        "in floating point, so that others compute nearly the same"
        if facts.contract is None
        else f"under the exact contract `{quoted(facts.contract)}`, so that others compute the same to the bit"
    )
    lines = [
        tables.start(facts),
        f"{counted(last.number - first.number, 'update', 'updates')} by "
        f"{recipe.algorithm.name} with the loss {recipe.loss.name} followed, each from {number(recipe.run.groups_per_update)} groups of "
        f"{number(recipe.run.group_size)} rollouts in the environment `{recipe.environment.name}`. Rollouts were sampled {contract}.",
        f"{number(sum(each.tokens for each in facts.parties))} tokens in "
        f"{number(sum(each.groups for each in facts.parties))} accepted groups; "
        f"{counted(len(facts.withdrawn), 'work was', 'works were')} taken out again by verdicts. {counted(len(stages_of(facts)), 'stage', 'stages')}, a statement for each in `provenance/`.",
        f"Recipe: `recipe.toml`, digest `{facts.recipe_digest}`.",
    ]
    if index is not None:
        lines += [
            f"{each.relation.capitalize()} {quoted(each.name)}, state digest `{each.weights}`, licence "
            f"{each.licence or 'unknown'}." + (f" {quoted(each.despite)}" if each.despite else "")
            for each in index.parents
        ]
    return "\n\n".join(lines)


def _owner(facts: Facts, stated: Stated) -> list[str]:
    """What only the owner knows."""
    languages = ", ".join(map(quoted, stated.languages)) or None
    authors = ", ".join(map(quoted, stated.authors)) or None
    return [
        "## Intended use",
        said(stated.intended_use),
        "## Out of scope",
        said(stated.out_of_scope),
        "## Limitations",
        said(stated.limitations),
        "## Risks",
        said(stated.risks),
        "## Languages",
        languages or UNKNOWN,
        "## Authors and contact",
        f"Authors: {authors or UNKNOWN}\n\nContact: {quoted(stated.contact) if stated.contact else UNKNOWN}",
        "## Citation",
        f"`CITATION.cff`; the weights are named by their digest, `{hex_of(facts.versions[-1].weights)}`.",
    ]


def _licence(stated: Stated, index: Released | None) -> str:
    if index is None:
        return f"Weights: {licence_of('parameters', stated, None) or UNKNOWN}"
    rows = [
        [each.kind, quoted(each.name), each.licence or "none stated, so not open"]
        for each in index.components
    ]
    return table(["Part", "Name", "Licence"], rows)


def _missing(index: Released | None) -> list[str]:
    if index is None or not index.missing:
        return []
    return ["## What is missing", "\n".join(f"- {quoted(each)}" for each in index.missing)]
