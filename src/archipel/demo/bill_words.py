"""The bill in words: what the run cost, what each node asked and earned, what a central run would have cost."""

from collections.abc import Callable, Mapping, Sequence

from archipel.demo.bill import MILLION, Bill, Seller
from archipel.demo.plan import CAST
from archipel.demo.trade import STANDS, VCPU_USD_PER_HOUR, VCPU_WORDS
from archipel.plurals import counted
from archipel.records.documents import NodeView

Tell = Callable[[str], None]


def tell_bill(
    bill: Bill | None, dids: Mapping[str, str], nodes: Mapping[str, NodeView], tell: Tell
) -> None:
    """One block. dids: name -> key. nodes: name -> what the lab says of it at the end."""
    if bill is None or not bill.sums.tokens:
        return
    sums = bill.sums
    found = len(sums.prices_micro)
    back = f", {_amount(sums.taken_micro)} taken back" if sums.taken_micro else ""
    prices = f", at {_span(sums.prices_micro)} credits a million tokens" if found else ""
    tell(f"cost      the run paid {_amount(sums.paid_micro)} credits = {bill.paid_usd:.6f} USD: {_amount(sums.sampling_micro)} for "
         f"sampling, {_amount(sums.audits_micro)} for audits{back}; {counted(found, 'round')} of {sums.rounds} found a price{prices}")  # fmt: skip
    for name in CAST:
        if name in dids and dids[name] in sums.sellers:
            tell(
                f"          {name:7} {_seller_words(name, sums.sellers[dids[name]], nodes.get(name))}"
            )
    _tell_central(bill, tell)


def _seller_words(name: str, seller: Seller, view: NodeView | None) -> str:
    stand = STANDS[name]
    where = f"({stand.region}, {stand.usd_per_kwh:g} USD/kWh)"
    asked = f"asked {_span(seller.asked_micro):>11}" if seller.asked_micro else "never asked"
    bought = (
        f"bought in {counted(len(seller.bought_micro), 'round')} at {_span(seller.bought_micro)}"
        if seller.bought_micro
        else "never bought"
    )
    kept = seller.earned_micro if view is None else view.credit_micro
    back = f" and keeps {_amount(kept)}" if kept < seller.earned_micro else ""
    earned = f"earned {_amount(seller.earned_micro)}{back} for {seller.tokens} tokens and audits"
    return f"{asked} {where:20} {bought}; {earned}"


def _tell_central(bill: Bill, tell: Tell) -> None:
    if not bill.central_usd:
        tell("central   not compared: this system does not tell what processor time the nodes took")
        return
    sampling_usd = bill.sums.sampling_micro / MILLION * bill.credit_usd
    tell(f"central   the same sampling took {bill.processor_s:.1f} s of a processor, {bill.central_usd:.6f} USD at the list price of "
         f"{VCPU_USD_PER_HOUR} USD an hour ({VCPU_WORDS})")  # fmt: skip
    tell(f"          a million tokens: {bill.per_million(bill.central_usd):.5f} USD there, "
         f"{bill.per_million(sampling_usd):.5f} USD here, with audits {bill.per_million(bill.paid_usd):.5f}")  # fmt: skip
    tell("          Asks are energy and wear of machines that are there; a list price is a whole business. The learner is in neither.")  # fmt: skip


def _span(micro: Sequence[int]) -> str:
    """The lowest and the highest, in credits."""
    low, high = _amount(min(micro)), _amount(max(micro))
    return low if low == high else f"{low} to {high}"


def _amount(micro: int) -> str:
    """Whole credits, or three digits that count."""
    credit = micro / MILLION
    return f"{credit:.0f}" if credit >= 100 else f"{credit:.3g}"
