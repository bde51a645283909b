"""papers/data-card.md: every source of data, what is known of it, and what nobody said. Pure."""

from archipel.plurals import counted
from archipel.release.facts import DataFact, Facts
from archipel.release.index import Released
from archipel.release.papers import tables
from archipel.release.papers.wording import UNKNOWN, number, paper, quoted, said, table, title_of
from archipel.release.stated import DataStated, Stated

_KINDS = {
    "file": "Files that were there before the run.",
    "generated": "Made by a program from a seed that the recipe names, so that anybody makes the same.",
    "rollouts": "Sampled by the model itself while it learned; every result is named by the ledger.",
}


def data_card(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The card of all data."""
    named = {each.name: each for each in stated.data}
    known = {each.name for each in facts.data}
    rest = [each for each in stated.data if each.name not in known]
    return paper(
        [
            f"# Data of {quoted(title_of(facts, stated))}",
            "Written by a program from the ledger of the run and from what the owner of the release says; the two are kept apart.",
            tables.data(facts, stated),
            *(_source(each, named.get(each.name), stated) for each in facts.data),
            *(_only_stated(each) for each in rest),
            "## How it was collected and cleaned",
            _collected(facts),
            "## Personal data",
            said(stated.personal_data),
            "## Copyright",
            said(stated.copyright_measures),
            "## Removal",
            said(stated.removal_measures),
            f"{counted(len(facts.withdrawn), 'work was', 'works were')} taken out of the run by verdicts.",
            *_missing(index),
        ]
    )


def _source(data: DataFact, word: DataStated | None, stated: Stated) -> str:
    rows = [
        ["What", _KINDS.get(data.kind, UNKNOWN)],
        ["Digest", f"`{data.digest}`" if data.digest else "unknown"],
        ["Bytes", number(data.size_bytes)],
        ["Items", number(data.count)],
        ["Tokens", number(data.tokens)],
        ["In this release", f"`{data.place}`" if data.place else "not included"],
        ["Licence", tables.licence_of_data(data, stated) or "unknown"],
        ["Source", quoted(data.source or (word.source if word else None) or "unknown")],
    ]
    text = said(word.description if word else None)
    return f"## {quoted(data.name)}\n\n{table(['Fact', ''], rows)}\n\nThe owner says: {text}"


def _only_stated(word: DataStated) -> str:
    rows = [
        ["Kind", word.kind],
        ["Licence", word.licence or "unknown"],
        ["Source", quoted(word.source or "unknown")],
    ]
    return (
        f"## {quoted(word.name)}\n\nStated by the owner alone: the ledger knows no data of this name.\n\n"
        f"{table(['Said', ''], rows)}\n\n{said(word.description)}"
    )


def _collected(facts: Facts) -> str:
    tasks = facts.recipe.environment
    secret = (
        "" if tasks.secret is None else f" A secret named `{tasks.secret}` went into the tasks."
    )
    return (
        f"Tasks come from the environment `{tasks.name}` as the recipe sets it, and from the run's seed "
        f"{facts.recipe.run.seed}.{secret} Rollouts were admitted by the lab's rules, which replaying the ledger repeats. "
        "Whatever was done to files before the run is not in the ledger."
    )


def _missing(index: Released | None) -> list[str]:
    about = [each for each in index.missing if "data" in each.lower()] if index else []
    if not about:
        return []
    return ["## What is missing", "\n".join(f"- {quoted(each)}" for each in about)]
