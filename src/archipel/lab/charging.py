"""What a door is paid out of a grant, by a permit that the grantee signed beforehand. Pure; under `granting`.

Law: a door is paid for a time once, never more than the permit says, nor than was granted.
"""

from archipel.lab import refusals
from archipel.lab.grantees import MAX_PERMITS_OF_ONE, Granted, PermitUsed
from archipel.lab.pool import ending, posted, room_for, with_granted
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.market import grants
from archipel.market.journal import Move, Posting, grant, wallet
from archipel.records.changed import changed
from archipel.records.grants import MAX_GRANT_MS, GrantCharged, Permit, PoolRuled

SLACK_MS = 60_000
"""A door's clock may be so far ahead."""


def charged(state: LabState, said: GrantCharged, permit: Permit, at_ms: int) -> LabState:
    """1 the rule names the door  2 the permit holds  3 for a time not charged yet  4 no more than allowed, and granted."""
    # 1
    rule: PoolRuled | None = state.pool.rule
    if rule is None or said.author not in rule.doors:
        raise refusals.NotAllowed(
            f"{said.author} is no door that may charge grants here; an operator of the lab names it (archipel grants rule)"
        )
    # 2
    if permit.lab != state.lab or permit.door != said.author or at_ms >= permit.until_ms:
        raise refusals.NotAllowed(
            f"the permit lets {permit.door} charge at {permit.lab} until {permit.until_ms} (Unix milliseconds), and "
            f"{said.author} charges at {at_ms}; ask the grantee for another"
        )
    if permit.until_ms > at_ms + MAX_GRANT_MS:
        raise refusals.NotAllowed(
            f"a permit for more than {MAX_GRANT_MS} ms; ask for a shorter one"
        )
    # 3
    known = room_for(state, permit.grantee)
    used = next(
        (each for each in known.permits if (each.door, each.name) == (permit.door, permit.name)),
        None,
    )
    heard_ms = 0 if used is None else used.heard_ms
    if said.since_ms < heard_ms or said.until_ms > at_ms + SLACK_MS:
        raise refusals.Conflict(
            f"a receipt for {said.since_ms} to {said.until_ms} (Unix milliseconds); expected one that begins at {heard_ms} "
            f"or later, the end of the last by this permit, and ends by now, {at_ms}"
        )
    # 4
    before, left = (0 if used is None else used.micro), grants.left_of(known.grants)
    if said.micro > min(permit.micro - before, left):
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits; the permit leaves {permit.micro - before} of {permit.micro}, and {left} are left "
            f"of what was granted to {permit.grantee}; it asks for more, or waits for next month (archipel grants request)"
        )
    now_used = PermitUsed(
        permit.name, permit.door, before + said.micro, said.until_ms, permit.until_ms
    )
    return _paid(state, known, permit.grantee, now_used, said.micro)


def _paid(state: LabState, known: Granted, did: str, used: PermitUsed, micro: int) -> LabState:
    others = tuple(
        each for each in known.permits if (each.door, each.name) != (used.door, used.name)
    )
    if len(others) == len(known.permits):
        if len(others) >= MAX_PERMITS_OF_ONE:
            raise refusals.TooMuch(
                f"{MAX_PERMITS_OF_ONE} permits of {did} are in use already; wait until one is over"
            )
        pool = changed(state.pool, ending=ending(state.pool, used.until_ms, did))
        state = changed(state, pool=pool)
    after = Granted(grants.charged(known.grants, micro), (*others, used))
    state = with_granted(state, did, after)
    door = account_of(state, used.door)
    return posted(state, Posting(Move.CHARGE, grant(did), wallet(door), micro))
