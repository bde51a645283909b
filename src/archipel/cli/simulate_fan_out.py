"""`archipel simulate fan-out`: one version to ever more nodes, by every shape that the lab knows."""

from pathlib import Path

COUNTS = (4, 16, 64, 256, 1024, 4096, 16_384)


def fan_out(settings: list[str], as_json: bool, png: Path | None) -> None:
    """Reckon and show it; Mendable where a setting means nothing."""
    from archipel.cli.doors import mending, show
    from archipel.planning.mistakes import CannotPlan
    from archipel.planning.tables import shelf
    from archipel.simulation.drawing import draw_rows
    from archipel.simulation.play import ready
    from archipel.simulation.report import rows_table, rows_to_json
    from archipel.simulation.scenario import CannotSimulate
    from archipel.simulation.scenarios import named, with_settings
    from archipel.simulation.spreading import rows

    with mending(CannotSimulate, CannotPlan, OSError):
        scenario = with_settings(named("small"), settings)
        world, _ = ready(scenario, shelf(), 0)
        weights = world.setting.weights
        found = rows(scenario.spreading, weights.delta_gb, world.setting.uplinks, COUNTS)
        if png is not None:
            draw_rows(found, png)
        show(rows_to_json(found, weights), as_json, lambda: rows_table(found, weights))
