"""What a lab shows of its pool and grants. Pure; whoever folds the ledger shows the same."""

from itertools import islice

from archipel.lab.collecting import passed
from archipel.lab.grantees import Granted, Pool
from archipel.lab.pool import held_micro, this_month
from archipel.lab.state import LabState
from archipel.market.grants import MONTHS, left_of
from archipel.market.journal import grant
from archipel.records.grant_documents import GranteeView, GrantsView, GrantView, PermitView


def grants_view(state: LabState, now_ms: int, rows: int, grantee: str | None = None) -> GrantsView:
    """With at most `rows` grantees and pledges, or with `grantee` alone; what is over by now is shown as over."""
    size = state.size
    state = this_month(passed(state, now_ms), now_ms)
    pool: Pool = state.pool
    chosen = islice(sorted(state.granted), rows) if grantee is None else (grantee,)
    return GrantsView(
        lab=state.lab,
        size=size,
        now_ms=now_ms,
        pool_micro=held_micro(state),
        rule=pool.rule,
        month=f"{pool.month // MONTHS:04d}-{pool.month % MONTHS + 1:02d}",
        given_micro=pool.given_micro,
        by_verifier=dict(pool.by_verifier),
        num_persons=len(state.persons) // 2,
        num_grantees=len(state.granted),
        granted_micro=sum(int(state.book.get(grant(did), 0)) for did in state.granted),
        grantees=tuple(_grantee(did, state.granted.get(did, Granted())) for did in chosen),
        num_pledges=len(state.pledged),
        pledges={did: state.pledged[did].parts for did in islice(sorted(state.pledged), rows)},
    )


def _grantee(did: str, known: Granted) -> GranteeView:
    return GranteeView(
        grantee=did,
        left_micro=left_of(known.grants),
        grants=tuple(
            GrantView(
                entry=each.entry,
                micro=each.micro,
                left_micro=each.left_micro,
                until_ms=each.until_ms,
            )
            for each in known.grants
        ),
        permits=tuple(
            PermitView(name=each.name, door=each.door, micro=each.micro, heard_ms=each.heard_ms)
            for each in known.permits
        ),
    )
