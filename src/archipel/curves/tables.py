"""A history as rows for other tools: CSV and JSON lines. Pure."""

import csv
import io
import json
from collections.abc import Sequence

from archipel.curves.history import History, in_order


def rows(histories: Sequence[History], names: Sequence[str] = ()) -> list[dict[str, float | str]]:
    """One row a version of each run; evaluations stand in the row of their version as `eval_...`.

    names: only these series; all when empty.
    """
    found = []
    for history in histories:
        table: dict[int, dict[str, float | str]] = {}
        for point in history.points:
            table[point.version] = {"at_s": point.at_s, **point.values}
        for exam in history.exams:
            scored = {f"eval_{name}": value for name, value in exam.values.items()}
            table.setdefault(exam.version, {}).update(scored)
        for version, values in sorted(table.items()):
            kept = {name: values[name] for name in names if name in values} if names else values
            found.append({"run": history.run, "version": version, **kept})
    return found


def to_csv(table: Sequence[dict[str, float | str]]) -> str:
    """Comma-separated, with a head; what a version did not measure is empty."""
    columns = ["run", "version", *columns_of(table)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def columns_of(table: Sequence[dict[str, float | str]]) -> list[str]:
    """Every measurement of a table, as people read them: training, then evaluations."""
    names = {name for row in table for name in row} - {"run", "version"}
    exams = sorted(name for name in names if name.startswith("eval_"))
    return [*in_order(names - set(exams)), *exams]


def to_json_lines(table: Sequence[dict[str, float | str]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in table)
