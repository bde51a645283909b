"""papers/training-content-summary.md: the public summary that Article 53(1)(d) of Regulation (EU) 2024/1689 asks for.

Filled as far as the ledger and the owner's words go, section by section of the Commission's template (annex of
C(2025) 8311, 5 December 2025: 1 general information, 2 list of data sources, 3 data processing aspects); what only a
person can know is marked `TO_BE_STATED`. Pure. It is no legal advice, and says so.
"""

from typing import Final

from archipel.plurals import counted
from archipel.release.facts import DataFact, Facts
from archipel.release.index import Released
from archipel.release.papers import tables
from archipel.release.papers.wording import day_of, number, paper, quoted, table, title_of
from archipel.release.stated import DataStated, Stated

TO_BE_STATED: Final = "**To be stated by the provider.**"
_BILLION, _TRILLION = 10**9, 10**12
_NOT_IN_LEDGER: Final = "No work of the ledger does this; where files come from that were there before the run, only the provider knows"


def eu_summary(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The summary, with the template's own numbers of sections."""
    return paper(
        [
            f"# Public summary of training content: {quoted(title_of(facts, stated))}",
            "After the template of the European Commission for Article 53(1)(d) of Regulation (EU) 2024/1689. Filled by "
            f"a program from a signed ledger (root `{facts.tree_root}`) and from what the provider states; whatever "
            f"neither holds is marked: {TO_BE_STATED} A marked summary is not finished, and this is no legal advice.",
            table(
                ["Summary", ""],
                [
                    ["Version", f"of version {facts.versions[-1].number} of the run `{facts.run}`"],
                    ["Last update", day_of(facts.last_ms)],
                ],
            ),
            "## 1. General information",
            _general(facts, stated, index),
            "## 2. List of data sources",
            *_sources(facts, stated, index),
            "## 3. Data processing aspects",
            *_processing(facts, stated),
        ]
    )


def still_to_be_stated(summary: bytes) -> int:
    """How many answers of a summary only a person can give, its introduction's mention not counted."""
    return summary.decode().count(TO_BE_STATED) - 1


def _or_person(text: str | None) -> str:
    return quoted(text) if text else TO_BE_STATED


def _general(facts: Facts, stated: Stated, index: Released | None) -> str:
    provider = ", ".join((*stated.authors, *([stated.contact] if stated.contact else ())))
    parents = (
        ", ".join(
            f"{each.relation} {quoted(each.name)} (`{each.weights}`)" for each in index.parents
        )
        if index
        else ""
    )
    rows = [
        ["1.1 Provider name and contact details", _or_person(provider)],
        ["1.1 Authorised representative", TO_BE_STATED],
        [
            "1.2 Versioned model name",
            f"{quoted(title_of(facts, stated))}, version {facts.versions[-1].number}, `{facts.versions[-1].weights}`",
        ],
        [
            "1.2 Model dependencies",
            f"{parents}; what these were trained on, their own summaries say."
            if parents
            else _start(facts),
        ],
        ["1.2 Date of placement on the Union market", TO_BE_STATED],
        ["1.3 Modalities", "Text."],
        ["1.3 Training data size, text", _size(facts)],
        ["1.3 Types of content", _or_person(_content(facts, stated))],
        [
            "1.3 Latest date of data acquisition",
            f"{_month(facts)}: the last entry of the run. Nothing is collected for this version after it.",
        ],
        ["1.3 Linguistic characteristics", _or_person(", ".join(stated.languages))],
        ["1.3 Other characteristics", TO_BE_STATED],
    ]
    return table(["Question", "Answer"], rows)


def _start(facts: Facts) -> str:
    """Of a run without parents on record."""
    if facts.recipe.supervised is not None:
        return "None recorded; the recipe has a supervised stage before version 0."
    return f"None recorded; the run opened with weights of which the ledger knows the digest alone. {TO_BE_STATED}"


def _month(facts: Facts) -> str:
    year, month, _ = day_of(facts.last_ms).split("-")
    return f"{month}/{year}"


def _size(facts: Facts) -> str:
    """One of the template's three ranges, from what is counted; a floor where something is not."""
    counted = sum(each.tokens for each in facts.data if each.tokens is not None)
    ranges = (
        "Less than 1 billion tokens",
        "1 billion to 10 trillion tokens",
        "More than 10 trillion tokens",
    )
    found = ranges[(counted >= _BILLION) + (counted > 10 * _TRILLION)]
    unknown = [each.name for each in facts.data if each.tokens is None]
    exact = f"{number(counted)} tokens are counted in the ledger"
    if not facts.data or unknown:
        named = ", ".join(map(quoted, unknown)) or "every source"
        return f"At least {exact[0].lower()}{exact[1:]}; not counted: {named}. {TO_BE_STATED}"
    return f"{found}: {exact}."


def _content(facts: Facts, stated: Stated) -> str:
    said = [f"{each.name}: {each.description}" for each in stated.data if each.description]
    tasks = f"tasks of the environment {facts.recipe.environment.name} and the model's own answers to them"
    return "; ".join([*said, tasks])


def _sources(facts: Facts, stated: Stated, index: Released | None) -> list[str]:
    of: dict[str, list[DataStated]] = {}
    for each in stated.data:
        of.setdefault(each.kind, []).append(each)
    files = {each.name: each for each in facts.data if each.kind == "file"}
    unsaid = [
        each for name, each in files.items() if name not in {word.name for word in stated.data}
    ]
    return [
        "### 2.1 Publicly available datasets",
        _listed(of.get("public"), unsaid, files, stated),
        "### 2.2 Private non-publicly available datasets obtained from third parties",
        "#### 2.2.1 Datasets commercially licensed by rightsholders or their representatives",
        _listed(of.get("licensed"), unsaid, files, stated),
        "#### 2.2.2 Private datasets obtained from other third parties",
        _listed(None, unsaid, files, stated),
        "### 2.3 Data crawled and scraped from online sources",
        _crawled(of.get("crawled"), unsaid, files, stated),
        "### 2.4 User data",
        _listed(of.get("user"), unsaid, files, stated),
        "### 2.5 Synthetic data",
        _synthetic(facts, index),
        *([_words(of["synthetic"], files, stated)] if "synthetic" in of else []),
        "### 2.6 Other sources of data",
        _other(facts),
        *([_words(of["other"], files, stated)] if "other" in of else []),
    ]


def _listed(
    words: list[DataStated] | None,
    unsaid: list[DataFact],
    files: dict[str, DataFact],
    stated: Stated,
) -> str:
    """Yes with a table, or No, or that the ledger alone cannot tell."""
    if words:
        return f"Yes.\n\n{_words(words, files, stated)}"
    if unsaid:
        named = ", ".join(f"{quoted(each.name)} (`{each.digest}`)" for each in unsaid)
        return f"{_NOT_IN_LEDGER}: {named}. {TO_BE_STATED}"
    return "No: the run took no files from elsewhere but those listed in other sections."


def _words(words: list[DataStated], files: dict[str, DataFact], stated: Stated) -> str:
    rows = []
    for each in words:
        fact = files.get(each.name)
        digest = f"`{fact.digest}`" if fact and fact.digest else "not in the ledger"
        rows.append(
            [
                quoted(each.name),
                quoted(each.source or "unknown"),
                each.licence or (fact and tables.licence_of_data(fact, stated)) or "unknown",
                digest,
                quoted(each.description or ""),
            ]
        )
    return table(["Name", "Link", "Licence", "Digest", "Description"], rows)


def _crawled(
    words: list[DataStated] | None,
    unsaid: list[DataFact],
    files: dict[str, DataFact],
    stated: Stated,
) -> str:
    listed = _listed(words, unsaid, files, stated)
    if not words:
        return listed
    asked = ("Crawler names", "Purposes", "Behaviour", "Period", "Most relevant domain names")
    return f"{listed}\n\n{table(['Asked', 'Answer'], [[each, TO_BE_STATED] for each in asked])}"


def _synthetic(facts: Facts, index: Released | None) -> str:
    sampled = sum(each.tokens for each in facts.parties)
    if not sampled:
        return "None in the ledger."
    lines = [
        f"Yes: {number(sampled)} tokens were sampled by earlier versions of this same model while it learned, of modality "
        "text; each result has a digest in the ledger, and which went into which version stands in `provenance/`."
    ]
    teachers = (
        [each for each in index.parents if each.relation == "distilled from"] if index else []
    )
    if facts.recipe.teacher is not None or teachers:
        named = ", ".join(f"{quoted(each.name)} (`{each.weights}`)" for each in teachers)
        lines.append(f"A teacher took part: {named or TO_BE_STATED}")
    return "\n\n".join(lines)


def _other(facts: Facts) -> str:
    made = [each for each in facts.data if each.kind == "generated"]
    if not made:
        return "None in the ledger."
    named = ", ".join(quoted(each.name) for each in made)
    return f"Yes: made by a program from a seed, without a model: {named}. The recipe names both, so anybody makes the same."


def _processing(facts: Facts, stated: Stated) -> list[str]:
    checked = (
        f"{counted(len(facts.withdrawn), 'work was', 'works were')} taken out of training by verdicts; "
        f"licences: {_licences(facts, stated)}. `archipel trace` lists what shaped the weights, with proofs."
    )
    return [
        "### 3.1 Respect of reservation of rights from text and data mining exception or limitation",
        f"Signatory of the code of practice: {TO_BE_STATED}",
        f"Measures: {_or_person(stated.copyright_measures)}",
        "### 3.2 Removal of illegal content",
        f"Measures: {_or_person(stated.removal_measures)}",
        "### 3.3 Other information (optional)",
        checked,
    ]


def _licences(facts: Facts, stated: Stated) -> str:
    found = {tables.licence_of_data(each, stated) or "unknown" for each in facts.data}
    return ", ".join(sorted(found)) or "none named"
