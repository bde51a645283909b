"""What audits showed of a node, for machines and in words: found right and wrong, and why a rate is what it is."""

from collections.abc import Iterator
from typing import Any

from archipel.cli.doors import printable
from archipel.lab.audits import closed_case
from archipel.lab.cases import sentence
from archipel.lab.providers import standing_of
from archipel.lab.reputation import Standing
from archipel.lab.risk import rate_of
from archipel.lab.stakes import staked_micro
from archipel.lab.state import LabState, Node, Run
from archipel.plurals import counted
from archipel.records.audits import MICRO


def told(state: LabState, rows: list[dict[str, Any]]) -> str:
    """Every row of `standing` for people."""
    if not rows:
        return f"lab {state.lab} knows no node"
    return printable("\n".join(line for row in rows for line in _lines(row)))


def standing(state: LabState, node: Node) -> dict[str, Any]:
    """What is known of a node, and the chance that its next answer is audited with what that comes of."""
    known, staked = standing_of(state, node.did), staked_micro(state, node.did)
    rate, run = _next_rate(state, node), _newest(state)
    pledge = staked if _vouches(run) else None
    return {
        "node": node.did,
        "run": None if run is None else run.name,
        "trusted": run is not None and node.did in run.opened.trusted,
        "verified": known.verified,
        "soft": known.soft,
        "hard": known.hard,
        "unseen_pay_micro": known.exposed_micro,
        "stake_micro": staked,
        "audits_confirmed": known.confirmed,
        "audits_refuted": known.refuted,
        "next_audited_micro": rate,
        "next_audited_by": None if rate is None else rate_parts(rate, _floor(run), known, pledge),
        "quarantine": None if known.quarantine is None else known.quarantine.work,
        "why": _why_barred(state, node),
    }


def _next_rate(state: LabState, node: Node) -> int | None:
    """Chance that one more group of the newest audited run is audited, in millionths; None: nothing of this node is."""
    run = _newest(state)
    known = standing_of(state, node.did)
    if run is None or known.quarantine is not None or node.did in run.opened.trusted:
        return None
    price = int(getattr(run.opened.pace, "price_micro", 0))
    return rate_of(state, run, known, node.did, price, is_audit=False)


def rate_parts(
    rate_micro: int, floor_micro: int, known: Standing, staked_micro: int | None
) -> dict[str, Any]:
    """What a chance comes of, in millionths: what was found right alone, the run's least, and above both the pay that
    nobody looked at: beside what vouches for it, where something must (`staked_micro`; None: nothing need).
    """
    alone = MICRO // (1 + known.verified)
    return {
        "rate_micro": rate_micro,
        "right": known.verified,
        "base_micro": max(alone, floor_micro),
        "is_floor": alone < floor_micro,
        "unseen_pay_micro": known.exposed_micro,
        "stake_micro": staked_micro,
    }


def _newest(state: LabState) -> Run | None:
    """The newest run that is audited."""
    runs = [run for run in state.runs.values() if run.opened.pace.audit is not None]
    return max(runs, key=lambda run: run.entry, default=None)


def _vouches(run: Run | None) -> bool:
    """Whether a provider's stake counts there."""
    terms = None if run is None else run.opened.pace.audit
    return terms is not None and terms.stake is not None


def _floor(run: Run | None) -> int:
    terms = None if run is None else run.opened.pace.audit
    return MICRO if terms is None else terms.floor_micro


def _why_barred(state: LabState, node: Node) -> str | None:
    """The verdict for which the node is given no work, in words; None: it is."""
    known = standing_of(state, node.did).quarantine
    run = None if known is None else state.runs.get(known.run)
    if known is None:
        return None
    case = None if run is None else closed_case(run, known.work)
    return f"found wrong in {known.work}" if case is None else sentence(case)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    yield row["node"]
    if row["why"] is not None:
        yield f"  IN QUARANTINE, given no work: {row['why']}"
        yield f"  what it can do: archipel node disputes --node {row['node']}"
    elif row["run"] is None:
        yield "  no run of this lab is audited"
    elif row["trusted"]:
        yield f"  trusted in {row['run']}: what it answers there is not audited"
    else:
        yield f"  in {row['run']}, {rate_words(row['next_audited_by'])}"
    own = f"{row['audits_confirmed']} confirmed, {row['audits_refuted']} refuted"
    yield (
        f"  {counted(row['verified'], 'answer')} found right in a row; verdicts against it: {row['soft']} soft, "
        f"{row['hard']} hard; audits of its own: {own}; stake {row['stake_micro'] / 1e6:.6f} credits"
    )


def rate_words(rate: dict[str, Any]) -> str:
    """The chance of the next audit, and what makes it so."""
    words = f"its next answer, if of one group, is audited at {rate['rate_micro'] / 1e4:.1f} %: "
    if not rate["right"]:
        return f"{words}none of its answers was found right yet, or since one was found wrong"
    if rate["is_floor"]:
        words += f"the run's least is {rate['base_micro'] / 1e4:.1f} %"
    else:
        words += f"1 in {1 + rate['right']} after {rate['right']} found right"
    times, unseen = rate["rate_micro"] / rate["base_micro"], rate["unseen_pay_micro"] / 1e6
    if times > 1:
        words += f", times {times:.2f} for {unseen:.3f} credits paid since anybody looked"
        if rate["stake_micro"] is not None:
            words += f", vouched for by a stake of {rate['stake_micro'] / 1e6:.3f}"
    return words
