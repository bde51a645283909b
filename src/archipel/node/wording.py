"""An agent's standing in one line for people: the most important first, so that what is cut matters least.

Pure: the time is an argument.
"""

from archipel.node.asks import brought_words
from archipel.node.standing import PAUSED, Doing, Standing, Trouble
from archipel.node.totals import Totals
from archipel.plurals import counted

UNTROUBLED = (Doing.PAUSED, Doing.LEAVING)
"""Nothing is tried again meanwhile."""


def line_of(standing: Standing, totals: Totals, now_s: float) -> tuple[str, ...]:
    """The parts of the line, the most important first. now_s: by the monotonic clock."""
    loss = f"last loss: {totals.last_loss}" if totals.last_loss else ""
    counted = (totals.outcomes(), totals.rate()) if totals.works else ()
    said = (doing(standing, totals, now_s), totals.earnings(), hour_words(standing, totals))
    return tuple(part for part in (*said, *counted, loss) if part)


def hour_words(standing: Standing, totals: Totals) -> str:
    """What an hour brings and its energy costs; empty where nobody is paid, or nobody can tell yet."""
    return standing.hour or brought_words(totals.credit_micro, totals.busy_s, standing.energy_micro)


def doing(standing: Standing, totals: Totals, now_s: float) -> str:
    """What the agent is at, in words."""
    if standing.doing is Doing.WORKING and standing.work is not None:
        working = _working(standing, totals.tokens_at_hand, now_s)
        trouble = standing.trouble
        return working if trouble is None else f"{working}; {_troubled(trouble, now_s)}"
    if standing.trouble is not None and standing.doing not in UNTROUBLED:
        return _troubled(standing.trouble, now_s)
    if standing.doing is Doing.WORKING:
        return "bringing the answer to the lab"
    if standing.doing is Doing.PAUSED:
        return f"paused: {standing.why_paused}"
    if standing.doing is Doing.RESTING:
        return f"resting for {_left(standing, now_s)} s"
    if standing.doing is Doing.WAITING:
        return f"waiting for work, {duration(now_s - standing.since_s)}"
    return str(standing.doing.value)


def waits_for(standing: Standing, now_s: float) -> str:
    """What Ctrl-C waits for, said when it is pressed."""
    if standing.hurrying:
        return "leaving now" if standing.work is None else f"giving {standing.work} back, leaving"
    if standing.work is None:
        return "leaving; Ctrl-C again leaves at once"
    return (
        f"finishing {standing.work}, at most {_left(standing, now_s)} s; "
        "Ctrl-C again gives it back at once"
    )


def summary_of(standing: Standing, totals: Totals) -> str:
    """The last words; empty if no lab was joined."""
    if not standing.lab:
        return ""
    parts = [totals.earnings(), hour_words(standing, totals), totals.outcomes(), totals.rate()]
    if totals.last_loss:
        parts.append(f"last loss: {totals.last_loss}")
    parts += [
        f"ALARM in run {run}: {'; '.join(told)}" for run, told in standing.alarms.items() if told
    ]
    parts += _passed(standing)
    return " · ".join(part for part in parts if part)


def _passed(standing: Standing) -> list[str]:
    """Alarms that do not stand any more."""
    told = []
    for run, kinds in standing.earlier.items():
        now = {alarm.partition(":")[0] for alarm in standing.alarms.get(run, ())}
        gone = [f"{kind} at version {at}" for kind, at in kinds.items() if kind not in now]
        told += [f"earlier alarms in run {run}: {', '.join(gone)}"] if gone else []
    return told


def duration(s: float) -> str:
    """Seconds in words: 12 s, 3 min, 2 h 5 min."""
    whole = max(int(s), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _troubled(trouble: Trouble, now_s: float) -> str:
    if trouble.what == PAUSED:
        return f"{PAUSED}: {trouble.reason}"
    left_s = max(int(trouble.retry_at_s - now_s + 0.5), 0)
    again = f", trying again in {left_s} s" if left_s else ", trying again"
    return f"{trouble.what}{again}: {trouble.reason}"


def _working(standing: Standing, tokens: int, now_s: float) -> str:
    so_far = f", {counted(tokens, 'token')} so far" if tokens else ""
    verb = "finishing" if standing.stopping else "working on"
    return f"{verb} {standing.work}: {standing.task}, {_left(standing, now_s)} s left{so_far}"


def _left(standing: Standing, now_s: float) -> int:
    return max(int((standing.until_s or now_s) - now_s), 0)
