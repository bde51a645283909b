"""Where a run's noise comes from the ledger: when the lab draws it, and what a draw does. Pure; part of `apply`.

Law: the root that gives the seed holds the opening and a later signature of the lab's, which who opened the run could
not foresee; a run's seed is drawn once, and its rollouts wait for it.
"""

from archipel.lab.noise import Noise
from archipel.lab.state import OPEN_PHASES, LabState, Run
from archipel.records.canonical import sha256_digest
from archipel.records.changed import changed
from archipel.records.programmes.rl import RlPace
from archipel.records.seeded import RunSeeded
from archipel.records.seeds import drawn_noise
from archipel.records.statements import encode

MAX_DRAW_LAG = 16_384
"""A draw is by the root of all entries but at most so many newest: the disk is no further behind."""


def is_drawn(run: Run) -> bool:
    """Whether the run asks for noise that nobody chose."""
    pace = run.opened.pace
    return isinstance(pace, RlPace) and pace.noise == "drawn"


def is_ready(run: Run) -> bool:
    """Whether what samples for it knows by which noise."""
    return not is_drawn(run) or noise_of(run) is not None


def noise_of(run: Run) -> int | None:
    """The seed that was drawn; None: none is asked for, or not yet."""
    return None if run.noise is None else run.noise.seed


def seed_due(state: LabState, size: int, root: bytes) -> RunSeeded | None:
    """A draw by the root of the first `size` entries, for the first run that waits for one."""
    for name in state.live:
        run = state.runs[name]
        if run.phase in OPEN_PHASES and not is_ready(run) and size > _holds(run):
            seq = int(state.sequences.get(state.lab, 0)) + 1
            digest = f"sha256:{root.hex()}"
            return RunSeeded(
                lab=state.lab, author=state.lab, seq=seq, run=name, size=size, root=digest
            )
    return None


def _holds(run: Run) -> int:
    """Position of what the next root has to hold."""
    return run.entry if run.noise is None else run.noise.entry


def seeded(state: LabState, statement: RunSeeded) -> LabState:
    """The state after a draw.

    Raises:
        ValueError: not by the lab, not asked for, a second time, or by a root that does not hold what it must.
    """
    run = state.runs[statement.run]
    if statement.author != state.lab:
        raise ValueError(f"{statement.author} draws, expected the lab")
    if is_ready(run):
        raise ValueError(f"the noise of {run.name} is not drawn, or was drawn before")
    if not max(_holds(run), state.size - MAX_DRAW_LAG) < statement.size <= state.size:
        raise ValueError(
            f"the noise of {run.name} is drawn by {statement.size} of {state.size} entries; expected more than "
            f"{_holds(run)}, and all but {MAX_DRAW_LAG} at most"
        )
    noise = Noise(state.size)
    if run.noise is not None:
        opening = sha256_digest(encode(run.opened))
        noise = changed(run.noise, seed=drawn_noise(statement.root, opening))
    return changed(state, runs=state.runs.put(run.name, changed(run, noise=noise)))
