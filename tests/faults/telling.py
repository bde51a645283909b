"""What a campaign says at its end: how many worlds and faults of each kind, and what each fault hit."""

from collections import Counter
from collections.abc import Sequence

from faults.kept import Ended


def table(ended: Sequence[Ended]) -> str:
    """A row for each kind."""
    lines = [
        f"{'kind':<14} {'worlds':>7} {'faults':>7} {'wrong':>6} {'s/world':>8} {'faults/min':>11}"
    ]
    for kind in dict.fromkeys(each.kind for each in ended):
        lines.append(_row(kind, [each for each in ended if each.kind == kind]))
    return "\n".join([*lines, _row("all", ended)] if len(lines) > 2 else lines)


def _row(name: str, mine: Sequence[Ended]) -> str:
    faults, wrong = sum(each.faults for each in mine), sum(bool(each.wrong) for each in mine)
    seconds = sum(each.seconds for each in mine)
    rate = 60 * faults / seconds if seconds else 0.0
    return f"{name:<14} {len(mine):>7} {faults:>7} {wrong:>6} {seconds / len(mine):>8.1f} {rate:>11.1f}"


def hit(ended: Sequence[Ended]) -> str:
    """A row for each fault: how often it took effect on what."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in ended:
        for what, count in each.hits.items():
            fault, _, target = what.partition(": ")
            counts[fault, target] += count
    lines = [f"{'fault':<18} hit"]
    for fault in sorted({fault for fault, _ in counts}):
        targets = [
            f"{target} {count}" for (its, target), count in counts.most_common() if its == fault
        ]
        lines.append(f"{fault:<18} {', '.join(targets)}")
    return "\n".join(lines)
