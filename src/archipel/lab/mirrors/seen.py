"""What an answer of a mirrored lab, or none, changes in what is known of it. Pure: the time is an argument.

Law: a fork and a broken rule stay; a rollback is over when the lab has caught up with what it signed; silence counts from
the first question after the last answer.
"""

from archipel.records.mirror_documents import (
    MAX_FAULTS,
    MAX_WORDS,
    MirrorFault,
    MirrorView,
    Standing,
)


def asked(view: MirrorView, now_ms: int) -> MirrorView:
    """It is asked now."""
    return view.model_copy(update={"asked_ms": now_ms})


def answered(view: MirrorView, now_ms: int, reason: str = "") -> MirrorView:
    """It answered, in a form that could be used. reason: why nothing newer is shown all the same."""
    told = {"answered_ms": now_ms, "since_ms": 0, "reason": reason[:MAX_WORDS]}
    return _standing(view.model_copy(update=told), is_silent=False)


def unanswered(view: MirrorView, now_ms: int, reason: str, patience_ms: int) -> MirrorView:
    """It did not, and why."""
    since_ms = view.since_ms or now_ms
    told = {"since_ms": since_ms, "reason": reason[:MAX_WORDS]}
    return _standing(view.model_copy(update=told), is_silent=now_ms - since_ms >= patience_ms)


def grown(view: MirrorView, size: int, head: str, now_ms: int) -> MirrorView:
    """Its mirror goes up to this head, wherever that came from: a lab that is silent stays so."""
    if head == view.head:
        return view
    caught_up = tuple(
        each.model_copy(update={"over_ms": now_ms})
        if each.kind == "rollback" and each.over_ms is None
        else each
        for each in view.faults
    )
    told = {"entries": size, "head": head, "head_ms": now_ms, "faults": caught_up}
    return _standing(view.model_copy(update=told), is_silent=view.standing == "silent")


def faulty(view: MirrorView, fault: MirrorFault) -> MirrorView:
    """It did this; what is known already is not said twice, and the first of each kind is never pushed out."""
    if any(_is_same(each, fault) for each in view.faults):
        return view
    faults = [*view.faults, fault]
    if len(faults) > MAX_FAULTS:
        first = {each.kind: number for number, each in reversed(list(enumerate(faults)))}
        spare = next(n for n in range(len(faults)) if n not in first.values())
        del faults[spare]
    told = view.model_copy(update={"faults": tuple(faults)})
    return _standing(told, is_silent=view.standing == "silent")


def _is_same(one: MirrorFault, other: MirrorFault) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind == "rollback":
        return one.over_ms is None
    if one.kind == "broken":
        return one.entry == other.entry
    return one.where == other.where or one.evidence == other.evidence


def _standing(view: MirrorView, *, is_silent: bool) -> MirrorView:
    return view.model_copy(update={"standing": standing(view, is_silent=is_silent)})


def standing(view: MirrorView, *, is_silent: bool) -> Standing:
    """How it stands; the order is the order of the reasons."""
    open_faults = {each.kind for each in view.faults if each.over_ms is None}
    if "fork" in open_faults:
        return "forked"
    if "broken" in open_faults:
        return "broken"
    if "rollback" in open_faults:
        return "gone-back"
    if is_silent:
        return "silent"
    return "followed" if view.answered_ms else "new"
