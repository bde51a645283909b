"""`archipel simulate --like`: a real run beside its own simulation, by what its ledger measured."""

from pathlib import Path


def like_run(place: Path, run_name: str | None, seeds: range, as_json: bool) -> None:
    """Simulate and compare; Mendable where the ledger does not hold, or shows too little."""
    from archipel.cli.benches import teller
    from archipel.cli.doors import mending, show
    from archipel.cli.ledger_checked import read_ledger
    from archipel.simulation.likeness import compared
    from archipel.simulation.observed import Observer
    from archipel.simulation.report import like_table, like_to_json
    from archipel.simulation.scenario import CannotSimulate

    observer, tell = Observer(run_name), teller()
    is_home = (place / "ledger.sqlite").is_file() and (place / "ledger.head").is_file()
    checked = read_ledger(
        None, None if is_home else str(place), place if is_home else None, None, seen=observer
    )
    with mending(CannotSimulate, TimeoutError):
        observed = observer.observed(checked.found.state)
        rows = compared(observed, seeds, tell)
    show(like_to_json(observed, rows), as_json, lambda: like_table(observed, rows))
