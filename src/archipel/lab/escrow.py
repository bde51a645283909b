"""What a run pays from: credits that sponsors set aside for it, or its operator's own account. Pure.

Law: a run that was funded, or has a market, pays from its escrow and never more than that holds, so it owes nobody
anything; any other pays from its operator's wallet, which may fall below zero: what the operator owes. A run that is
over keeps nothing: the unspent goes back to its funders in proportion to what they gave.
"""

from archipel.lab.audits import is_at_work, terms
from archipel.lab.charters import with_owned
from archipel.lab.programmes import pretrain, rl
from archipel.lab.providers import account_of
from archipel.lab.state import OPEN_PHASES, LabState, Run
from archipel.market.journal import Move, Posting, escrow, held, post, wallet
from archipel.market.shares import in_proportion
from archipel.records.changed import changed
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe_market import MICRO


def is_escrowed(run: Run) -> bool:
    """Whether it pays from its escrow."""
    return bool(run.funders) or run.opened.pace.market is not None


def purse(run: Run) -> str:
    """The account that its leases are held from, and that refunds and pay taken back go to."""
    return escrow(run.name) if is_escrowed(run) else wallet(run.opened.author)


def is_over(run: Run) -> bool:
    """Whether nothing that costs anything can still come of it; evaluations may, which are paid nothing. They may never
    be done, if whom the run trusts is gone, and no sponsor waits for that.
    """
    return run.phase not in OPEN_PHASES and not run.leases and not is_at_work(run)


def left_micro(state: LabState, run: Run) -> int | None:
    """What it can still promise; None: as much as it takes, on its operator's account."""
    return int(state.book.get(escrow(run.name), 0)) if is_escrowed(run) else None


def spendable_micro(state: LabState, run: Run, *, is_audited: bool) -> int | None:
    """The highest price of a lease that it can afford; None: any.

    Of work that may be audited it keeps so much back that one audit of the answer can be paid.
    """
    left, known = left_micro(state, run), terms(run)
    if left is None or known is None or not is_audited:
        return left
    return left * 1000 // (1000 + known.pay_milli)


def affords(state: LabState, run: Run, price_micro: int, *, is_audited: bool) -> bool:
    """Whether it can promise this price for a lease."""
    most = spendable_micro(state, run, is_audited=is_audited)
    return most is None or price_micro <= most


def least_micro(state: LabState, run: Run) -> int:
    """The price of the smallest lease of the work that strangers do for it."""
    market, pace = state.markets.get(run.name), run.opened.pace
    if isinstance(pace, RlPace) and market is not None and market.last and market.last.rules:
        tokens = pace.group_size * pace.max_new_tokens
        return int(-(-market.last.cheapest_micro * tokens // MICRO))
    return int(getattr(pace, "price_micro", 0))


def needed_micro(state: LabState, run: Run) -> int:
    """What its escrow must hold for that, one audit included where there are audits."""
    known, least = terms(run), least_micro(state, run)
    return least if known is None else -(-least * (1000 + known.pay_milli) // 1000)


def rest_micro(state: LabState, run: Run) -> int:
    """What a run with a posted price may still cost: every group that is not accepted yet, and one audit of each of all its
    groups where there are audits, since those of accepted ones may be to come; of pretraining, every contribution that is
    neither answered nor in a node's hands, and as many audits as its versions have contributions.
    """
    known, least, pace = terms(run), least_micro(state, run), run.opened.pace
    if isinstance(pace, PretrainPace):
        whole = run.opened.terms.versions * pace.members * least
        looked = 0 if known is None else -(-whole * known.pay_milli // 1000)
        return pretrain.num_left(run) * least + looked
    if not isinstance(pace, RlPace):
        return needed_micro(state, run)
    numbers = rl.batches(run)
    total = numbers.versions * numbers.size * (1 + numbers.refill)
    audits = 0 if known is None else -(-total * least * known.pay_milli // 1000)
    return (total - rl.num_accepted(run)) * least + audits


def is_out(state: LabState, run: Run) -> bool:
    """Whether it cannot afford any more of that work; what is in nodes' hands is paid for."""
    return not affords(state, run, least_micro(state, run), is_audited=True)


def funded(state: LabState, run: Run, did: str, micro: int) -> LabState:
    """Credits from a sponsor's wallet for the run.

    What is held for its open leases when it is funded first came from its operator, and counts as given by it; what was
    paid before that is remembered for its owners.
    """
    funders, own = run.funders, run.opened.author
    pledged = 0 if is_escrowed(run) else int(state.book.get(held(run.name), 0))
    if pledged:
        funders = funders.put(own, pledged)
    if not is_escrowed(run) and run.name in state.owned:
        owned = changed(state.owned[run.name], own_micro=run.paid_micro)
        state = with_owned(state, run.name, owned)
    funders = funders.put(did, funders.get(did, 0) + micro)
    run = changed(run, funders=funders)
    book = post(state.book, (Posting(Move.ESCROW, wallet(did), escrow(run.name), micro),))
    return changed(state, runs=state.runs.put(run.name, run), book=book)


def returned(state: LabState, run: Run) -> LabState:
    """The unspent of a run that is over, back with its funders; whose key became a node's since, its operator has it."""
    account = escrow(run.name)
    unspent = int(state.book.get(account, 0))
    if not unspent:
        return state
    shares = in_proportion(unspent, run.funders or {run.opened.author: 1})
    postings = [
        Posting(Move.REFUND, account, wallet(account_of(state, did)), micro)
        for did, micro in sorted(shares.items())
    ]
    return changed(state, book=post(state.book, postings))
