"""What a run's model earned: whose receipts count, and what came in for them, paid to who holds the shares (0081). Pure.

Law: a receipt counts once, under a key that was named for this run and these weights; what is entered never exceeds what the
receipts come to; every micro-credit of it goes to a holder of that entry, by largest remainders, the treasury among them.
"""

from archipel.lab import refusals
from archipel.lab.money import check_issue
from archipel.lab.owners import MAX_METERS, Meter, Owned
from archipel.lab.state import LabState, Run
from archipel.market.journal import OUTSIDE, Move, Posting, post, run_treasury, wallet
from archipel.market.ownership import TREASURY
from archipel.market.shares import in_proportion
from archipel.records.changed import changed
from archipel.records.membership import NotSigned, read_signed
from archipel.records.ownership import MeterNamed, RevenueEntered
from archipel.records.receipts import UsageReceipt, receipt_digest


def named(state: LabState, run: Run, said: MeterNamed) -> LabState:
    """The state when a key's receipts count for a run. Raises NotAllowed, Conflict, Unknown, TooMuch."""
    _check_operator(state, said.author)
    known = state.meters.get(said.meter)
    if known is not None:
        raise refusals.Conflict(
            f"{said.meter} is a meter of {known.run} already; a meter is of one run and one model: make another"
        )
    versions = [each.policy for each in run.chain]
    if said.weights not in versions:
        newest = versions[-1] if versions else "none"
        raise refusals.Unknown(
            f"{said.weights} is none of the {len(versions)} versions of {run.name} that are known, of which the newest is "
            f"{newest}; serve one of these"
        )
    if sum(each.run == run.name for each in state.meters.values()) >= MAX_METERS:
        raise refusals.TooMuch(f"{run.name} has {MAX_METERS} meters already, and no more")
    return changed(state, meters=state.meters.put(said.meter, Meter(run.name, said.weights)))


def entered(state: LabState, said: RevenueEntered) -> LabState:
    """The state when revenue was paid to the holders of a run whose shares are divided.

    1 an operator says so  2 by a receipt of a meter of this run  3 that goes on from the last  4 of no more than is due

    Raises:
        NotAllowed, Unknown, Conflict, TooMuch: accordingly.
    """
    # 1
    _check_operator(state, said.author)
    # 2
    try:
        receipt = read_signed(UsageReceipt, said.receipt)
    except NotSigned as error:
        raise refusals.NotAllowed(str(error)) from None
    meter = _meter_of(state, said.run, receipt)
    # 3
    _check_goes_on(meter, said, receipt)
    # 4
    left = receipt.all.micro - meter.paid_micro
    if said.micro > left:
        raise refusals.TooMuch(
            f"{said.micro} micro-credits, and the receipts up to {receipt.number} come to {receipt.all.micro}, of which "
            f"{meter.paid_micro} were entered; at most {left} can be"
        )
    check_issue(state, said.micro)
    after = changed(
        meter,
        number=receipt.number,
        digest=receipt_digest(said.receipt),
        due_micro=receipt.all.micro,
        paid_micro=meter.paid_micro + said.micro,
    )
    return changed(
        state,
        meters=state.meters.put(receipt.meter, after),
        book=post(state.book, _postings(state.owned[said.run], said)),
    )


def _postings(owned: Owned, said: RevenueEntered) -> list[Posting]:
    """To every holder its part."""
    parts = in_proportion(said.micro, owned.held)
    return [
        Posting(
            Move.EARN,
            OUTSIDE,
            run_treasury(said.run) if holder == TREASURY else wallet(holder),
            micro,
        )
        for holder, micro in sorted(parts.items())
    ]


def _check_operator(state: LabState, author: str) -> None:
    if author not in state.operators:
        raise refusals.NotAllowed(
            f"{author} is no operator of this lab, and what comes in from outside only an operator enters"
        )


def _meter_of(state: LabState, run: str, receipt: UsageReceipt) -> Meter:
    meter: Meter | None = state.meters.get(receipt.meter)
    if meter is None or meter.run != run:
        raise refusals.NotAllowed(
            f"{receipt.meter} is no meter of {run}; an operator names it first (archipel receipts name)"
        )
    if receipt.weights != meter.weights:
        raise refusals.NotAllowed(
            f"the receipt is of other weights, {receipt.weights}, than its meter was named for, {meter.weights}"
        )
    return meter


def _check_goes_on(meter: Meter, said: RevenueEntered, receipt: UsageReceipt) -> None:
    if said.first != meter.number + 1:
        raise refusals.Conflict(
            f"receipts from {said.first} on, and those up to {meter.number} were entered before: each counts once; begin "
            f"with {meter.number + 1}"
        )
    if receipt.number < said.first:
        raise refusals.Conflict(
            f"receipts from {said.first} to {receipt.number}: the last one comes before the first"
        )
    is_next = receipt.number == meter.number + 1
    if is_next and receipt.previous != meter.digest:
        raise refusals.Conflict(
            f"receipt {receipt.number} names {receipt.previous} as the one before it; entered was {meter.digest}: this is "
            "another chain under the same key"
        )
    if receipt.all.micro < meter.due_micro:
        raise refusals.Conflict(
            f"receipt {receipt.number} comes to {receipt.all.micro} micro-credits in all, and the receipts up to "
            f"{meter.number} came to {meter.due_micro} already: this is another chain under the same key"
        )
