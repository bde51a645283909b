"""Inner-step work in the lab: contributions to the newest version, each of another node where there are so many. Pure."""

from archipel.lab import refusals
from archipel.lab.programmes import pretrain
from archipel.lab.programmes.pretrain import Contribution, Held
from archipel.lab.programmes.pretrain_waiting import is_slow, may_take_ms, steps_for
from archipel.lab.rules import Asking, Crowd, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import Lease, Node, Run
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.inner_step import WORDS, InnerStepAnswer, InnerStepSpec

UNMEASURED = 10
"""A node's first lease lasts so many times the shortest deadline, or longer where others take longer."""


def _may_have(run: Run, crowd: Crowd, now_ms: int, did: str) -> bool:
    """A node has its share of the outer step; all may have more when what is left is not taken in time."""
    slice_, members = pretrain.course(run), pretrain.pace(run).members
    own = sum(each.node == did for each in slice_.held.values())
    own += sum(slice_.contributions[work].node == did for work in slice_.answered.values())
    nodes = max(crowd.count, 1)
    if own < -(-members // nodes):
        return True
    return is_slow(run, now_ms, UNMEASURED * pretrain.pace(run).min_deadline_ms)


def _offer(asking: Asking) -> InnerStepSpec | None:
    run, pace = asking.run, pretrain.pace(asking.run)
    free = pretrain.free(run)
    if not free:
        return None
    return InnerStepSpec(
        run=run.name,
        version=run.version,
        policy=run.chain[-1].policy,
        index=free[0],
        steps=steps_for(run, asking.node, WORDS.name),
        first_step=run.version * pace.steps,
        corpus=pace.corpus.manifest,
    )


def _patience_ms(run: Run, node: Node, spec: InnerStepSpec) -> int:
    """By the node's own rate; before that is measured, by what the others take."""
    pace, known = pretrain.pace(run), node.speed(WORDS.name, run.name)
    if known.rate_micro:
        expected_ms = spec.steps * 1_000_000_000 // known.rate_micro
        wanted = max(pace.min_deadline_ms, expected_ms * pace.slack_milli // 1000)
    else:
        usual_ms = may_take_ms(run, spec.steps) or 0
        wanted = max(UNMEASURED * pace.min_deadline_ms, usual_ms * pace.slack_milli // 1000)
    return min(wanted << known.setbacks, run.opened.terms.trusted_deadline_ms)


def _price_micro(run: Run, spec: InnerStepSpec) -> int:
    return pretrain.pace(run).price_micro * spec.steps // pretrain.pace(run).steps


def _check(run: Run, lease: Lease, answer: InnerStepAnswer) -> None:
    """1 the weights, and where they were trained  2 the steps  3 what follows from them"""
    spec, pace = _spec(lease), pretrain.pace(run)
    # 1
    if answer.policy != spec.policy:
        raise refusals.WrongPolicy(f"trained from {answer.policy}, the lease says {spec.policy}")
    if pace.audit is not None and answer.machine is None:
        raise refusals.WrongShape(
            "it does not say on which class of machine it was made; in a run with audits it has to"
        )
    # 2
    if not pace.min_steps <= answer.steps <= spec.steps:
        raise refusals.WrongShape(
            f"{answer.steps} inner steps; expected {pace.min_steps} to {spec.steps}"
        )
    # 3
    tokens, states = answer.steps * pace.tokens_per_step, pace.commitments_of(answer.steps)
    if answer.num_tokens != tokens:
        raise refusals.WrongShape(
            f"num_tokens says {answer.num_tokens}; {answer.steps} inner steps learn from {tokens}"
        )
    if len(answer.commitments) != states:
        raise refusals.WrongShape(
            f"{len(answer.commitments)} commitments; {answer.steps} inner steps have {states}"
        )
    if answer.payload.size != pace.payload_bytes:
        raise refusals.WrongShape(
            f"a payload of {answer.payload.size} bytes; every one of this run has {pace.payload_bytes}"
        )


def _inspect(run: Run, lease: Lease, answer: InnerStepAnswer, read: ReadBlob) -> None:
    """What the payload says, the merge finds out: the lab computes with no tensors."""


def _granted(run: Run, lease: Lease) -> Run:
    spec, slice_ = _spec(lease), pretrain.course(run)
    if spec.version != run.version or spec.index not in pretrain.free(run):
        raise ValueError(
            f"{lease.work} is contribution {spec.index} to version {spec.version}, which nobody is to make now"
        )
    held = Held(lease.work, lease.node, spec.version, spec.index, spec.steps, lease.granted_at_ms)
    return pretrain.with_course(run, held=slice_.held.put(spec.index, held))


def _given_up(run: Run, lease: Lease) -> Run:
    """Somebody else may make it, if its version is still the newest."""
    return _let_go(run, lease)[0]


def _let_go(run: Run, lease: Lease) -> tuple[Run, bool]:
    """The run without this lease, and whether its merge is still to come."""
    slice_, index = pretrain.course(run), _spec(lease).index
    held = slice_.held.get(index)
    if held is not None and held.work == lease.work:
        return pretrain.with_course(run, held=slice_.held.drop(index)), True
    if lease.work in slice_.behind:
        run = pretrain.with_course(run, behind=slice_.behind.drop(lease.work))
    return run, False  # in neither: its merge has begun, and it cannot be in a later one


def _accepted(run: Run, lease: Lease, answer: InnerStepAnswer, moment: Moment) -> Run:
    run, is_in_time = _let_go(run, lease)
    slice_, spec = pretrain.course(run), _spec(lease)
    done = AcceptedWork(work=lease.work, spec=spec, answer=answer)
    known = Contribution(done, lease.node, _withheld(run, lease, answer))
    took_us = (moment.at_ms - lease.granted_at_ms) * 1000 // answer.steps
    changes = {
        "contributions": slice_.contributions.put(lease.work, known),
        "times_us": (*slice_.times_us, took_us)[-pretrain.MAX_TIMES :],
    }
    if is_in_time:
        changes["answered"] = slice_.answered.put(spec.index, lease.work)
    run = pretrain.with_course(run, **changes)
    return pretrain.counted(run, answered=1, payload_bytes=answer.payload.size)


def _withheld(run: Run, lease: Lease, answer: InnerStepAnswer) -> int:
    """For the steps that were made, of those that were asked."""
    return lease.price_micro * answer.steps // _spec(lease).steps


def _spec(lease: Lease) -> InnerStepSpec:
    if not isinstance(lease.spec, InnerStepSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="pretrain",
    slice=None,
    audited=True,
    due=pretrain.has_free,
    needs=lambda run: run.opened.pace.needs,
    may_have=_may_have,
    offer=_offer,
    patience_ms=_patience_ms,
    price_micro=_price_micro,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: pretrain.pace(run).payload_bytes,
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=_given_up,
    accepted=_accepted,
    earned=lambda run, lease, answer: 0,
    withheld=_withheld,
    effort=lambda lease, answer: Effort(answer.steps, answer.num_tokens, answer.payload.size),
    copies=None,
    size=lambda spec: 1,
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
