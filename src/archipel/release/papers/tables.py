"""What several papers show alike: parties, evaluations, data, costs, settings of the recipe. Pure."""

from archipel.release.facts import DataFact, Facts
from archipel.release.papers.stages import evaluations_of
from archipel.release.papers.wording import (
    UNKNOWN,
    credits_of,
    day_of,
    first_rows,
    number,
    quoted,
    table,
)
from archipel.release.stated import Stated


def parties(facts: Facts) -> str:
    """Who did what, most tokens first."""
    rows = [
        [
            f"`{each.did}`",
            ", ".join(each.roles),
            number(len(each.nodes)),
            number(each.groups),
            number(each.tokens),
            credits_of(each.micro),
        ]
        for each in sorted(facts.parties, key=lambda each: (-each.tokens, each.did))
    ]
    if not rows:
        return UNKNOWN
    heads = ["Party", "Roles", "Nodes", "Accepted groups", "Sampled tokens", "Paid and kept"]
    return first_rows(rows, heads, "parties")


def start(facts: Facts) -> str:
    """Where version 0 came from: the recipe's word, which a rebuilding shows or does not."""
    part = facts.recipe.supervised
    if part is None:
        return f"Version 0 is `{facts.versions[0].weights}`, as the run opened with it; the recipe has no supervised stage before it."
    return (
        f"Version 0 is `{facts.versions[0].weights}`, as the run opened with it. The recipe has a supervised stage of at most "
        f"{number(part.steps)} steps of {number(part.batch_size)} examples before it; that these weights came out of it is "
        "shown by rebuilding that stage, and not by the ledger."
    )


def evaluations(facts: Facts) -> str:
    """Every evaluation of every version, with the digest of its report and of its tasks."""
    rows = [
        [
            number(each.version),
            day_of(each.at_ms),
            ", ".join(
                f"{quoted(name)} {number(value)}" for name, value in sorted(each.metrics.items())
            ),
            f"`{each.report.digest}`",
            f"`{each.tasks}`" if each.tasks else "unknown",
        ]
        for each in evaluations_of(facts)
    ]
    if not rows:
        return "The ledger holds no evaluation of any version."
    heads = ["Version", "Day", "Metrics", "Report", "Tasks"]
    return first_rows(rows, heads, "evaluations") + "\n\n`_micro` means millionths."


def data(facts: Facts, stated: Stated) -> str:
    """Every source of data with its digest, size and licence."""
    rows = [
        [
            quoted(each.name),
            each.kind,
            number(each.count),
            number(each.tokens),
            licence_of_data(each, stated) or "unknown",
            f"`{each.digest}`" if each.digest else "unknown",
        ]
        for each in facts.data
    ]
    if not rows:
        return "The ledger names no data but what nodes sampled."
    return first_rows(rows, ["Name", "Kind", "Items", "Tokens", "Licence", "Digest"], "sources")


def licence_of_data(data: DataFact, stated: Stated) -> str | None:
    """The ledger's, else what the owner says of data of this name, else of data; his word for all other parts is
    taken for what the run made itself, and not for files that came from elsewhere.
    """
    if data.licence is not None:
        return data.licence
    named = {each.name: each.licence for each in stated.data}
    known = named.get(data.name) or stated.licences.get("dataset")
    return known if known or data.kind == "file" else stated.licences.get("default")


def cost(facts: Facts) -> str:
    """Money, time and energy, each or that it was not measured."""
    spent = facts.cost
    energy = None if spent.energy_j is None else spent.energy_j / 3_600_000
    hours = None if spent.processor_s is None else spent.processor_s / 3600
    rows = [
        ["Paid to providers", credits_of(spent.paid_micro)],
        ["Processor hours", number(hours)],
        ["Energy in kWh", number(energy)],
    ]
    return f"{table(['What', 'How much'], rows)}\n\n{quoted(spent.how)}"


def settings(facts: Facts) -> list[tuple[str, str]]:
    """(section.key, value) of the recipe, sorted, what is unset left out."""
    found = []
    for section, values in facts.recipe.spared().items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            if value is not None:
                found.append((f"{section}.{key}" if key else section, _value(value)))
    return sorted(found)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {value[key]}" for key in sorted(value)) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
