"""Documented training as rows of `measured/`, and whole runs of it asked of the planner as a stranger would.

Law: a run is asked by its size, tokens, chip, fleet, sequence and precision alone; its utilisation is the planner's.
"""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.covering import Held
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf

ROWS = "training@2026-11.toml"
SAMPLES = 200
"""Worlds in which a run is asked: its ends move by a few percent."""


@cache
def rows() -> tuple[dict[str, Any], ...]:
    """Every figure of documented training."""
    found = resources.files("archipel.planning").joinpath("measured", ROWS)
    return tuple(tomllib.loads(found.read_text("utf-8"))["run"])


def request_of(row: dict[str, Any]) -> Any:
    """What one would ask of the planner about this run."""
    return REQUESTS["train"](
        params=f"{row['params']:g}",
        active_params=f"{row['active']:g}" if "active" in row else "",
        tokens=f"{row['tokens']:g}",
        accelerator=row["kind"],
        count=f"{row['count']}",
        sequence=f"{row['sequence']}",
        precision=row.get("precision", "bf16"),
        price="1 USD/h",
    )


def asked() -> list[Held]:
    """Accelerator-hours of whole runs as told and as planned; runs before fused attention are left out.

    The fit has seen these runs, each as one figure of many.
    """
    known = shelf().members("accelerator")
    found = []
    for row in rows():
        if "hours" in row and row["kind"] in known and not row.get("early"):
            plan = Ask("train", request_of(row), Setting(samples=SAMPLES)).plan()
            told = next(each for each in plan.answers if each.name == "train.accelerator_hours")
            hours = Draws(count=SAMPLES).estimate(told)
            ends = (hours.value, hours.low, hours.high)
            found.append(Held(row["name"], float(row["hours"]), *ends))
    return found
