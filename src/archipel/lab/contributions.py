"""Who may take a contribution back: whoever gave it, or the lab's operator. Pure.

Law: one check for the door and for the fold (`owning`); the state stays as it is, but for the entry's number.
"""

from archipel.lab import joining, refusals
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Run
from archipel.records.recipe_charter import CharterTerms
from archipel.records.withdrawal import ContributionWithdrawn


def admit(state: LabState, said: ContributionWithdrawn, now_ms: int) -> None:
    """Refuse what is not its author's to take back.

    Raises:
        Refused: the run is unknown, or the contribution is somebody else's.
    """
    run: Run | None = state.runs.get(said.run)
    if run is None:
        raise refusals.Unknown(f"no run {said.run}; this lab has {sorted(state.runs)[:8]}")
    if said.author in state.operators:
        return
    joining.admit_author(state, said.author, now_ms)
    if not _is_own(state, run, said):
        raise refusals.NotAllowed(
            f"{said.author} takes back what is not its own: an operator of nodes takes back its own part or one of its "
            "keys', a contributor of the run's charter its data, the lab's operator anything"
        )


def _is_own(state: LabState, run: Run, said: ContributionWithdrawn) -> bool:
    charter: CharterTerms | None = run.opened.pace.charter
    named = () if charter is None else charter.contributors or ()
    contributors = {each.did for each in named}
    has_worked = said.author in state.nodes or said.author in state.providers
    if said.data is not None:
        return said.author in contributors
    if said.party is not None:
        return said.party == said.author and (has_worked or said.author in contributors)
    return has_worked and said.key is not None and account_of(state, said.key) == said.author
