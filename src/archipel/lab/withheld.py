"""Pay that is held after its answer was accepted, until it is known what that was worth. Pure; part of `endings`.

Law: what was promised for an answer stays in `held:<run>` and goes from there to its node or back, once and whole, so
nobody is paid for what turned out to be worth nothing, and no balance falls below zero by it.
"""

from archipel.lab.earning import earned
from archipel.lab.escrow import purse
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import account_of
from archipel.lab.stakes import kept
from archipel.lab.state import LabState, Run
from archipel.market.journal import Move, Posting, held, post, wallet
from archipel.records.changed import changed


def paid_out(state: LabState, run: Run) -> tuple[LabState, Run]:
    """The state and the run when everything was paid that is due now; the run is not put into the state."""
    run, due = PROGRAMME_OF[run.opened.pace.programme].paid_out(run)
    for each in due:
        postings = (
            Posting(
                Move.PAY, held(run.name), wallet(account_of(state, each.node)), each.paid_micro
            ),
            Posting(Move.REFUND, held(run.name), purse(run), each.back_micro),
        )
        state = changed(state, book=post(state.book, postings))
        state = earned(state, run.name, each.node, each.paid_micro)
        state = kept(state, run, each.node, each.paid_micro + each.back_micro, each.paid_micro)
        run = changed(run, paid_micro=run.paid_micro + each.paid_micro)
    return state, run
