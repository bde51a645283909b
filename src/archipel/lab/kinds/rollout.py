"""Rollout work in the lab: admitted as far as staleness allows, checked byte by byte, paid by the group. Pure."""

from collections.abc import Iterable
from itertools import chain, islice

from archipel.lab import refusals
from archipel.lab.programmes import rl
from archipel.lab.rules import Asking, Copies, Effort, Moment, ReadBlob, Rules
from archipel.lab.seeding import is_ready, noise_of
from archipel.lab.state import Lease, Node, Phase, Run
from archipel.market.capacity import fair_share
from archipel.records import rollouts
from archipel.records.backends import OWN_ENGINE
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import WORDS, RolloutAnswer, RolloutSpec
from archipel.records.payload import BadPayload
from archipel.records.recipe_market import MICRO

CLAIM_PATIENCE = 10
"""A node that nobody measured gets at most so many times the shortest deadline, whatever it claims."""
PREPARING_MS = 120_000
"""A node's first leases of a run last as long at least where libraries load, engines start or compile: none of that
is sampling, and the shortest deadline of a recipe is for sampling. The work is late as soon as it ever was."""
LATE = 2
"""A lease is late at so many times what its holder's speed lets one expect, but not before the shortest
deadline."""

_REFUSALS: tuple[tuple[type[BadPayload], type[refusals.BadResult]], ...] = (
    (rollouts.WrongLabel, refusals.WrongLabel),
    (rollouts.WrongShape, refusals.WrongShape),
    (rollouts.NotFinite, refusals.NotFinite),
    (rollouts.OutOfRange, refusals.OutOfRange),
    (BadPayload, refusals.BadResult),
)


def _due(run: Run) -> bool:
    return rl.has_to_sample(run) and is_ready(run)


def _offer(asking: Asking) -> RolloutSpec | None:
    """Returned groups first, then new ones as far as the staleness bound and the prompts reach.

    A node gets its share of one batch, or of as many as the learner has at hand: while the learner is
    behind nobody waits for the answer, and fewer, larger leases cost everybody less.
    """
    run, slice_, pace = asking.run, rl.course(asking.run), rl.pace(asking.run)
    size = pace.groups_per_update
    own = _weight(asking)
    part = size * max(1, rl.batches_at_hand(run))
    share = _trusted_with(asking, fair_share(part, own, *_company(asking, own)))
    share = share if asking.most_micro is None else _paid_for(asking, asking.most_micro, share)
    admitted = chain(slice_.pool, rl.fresh(run))
    ready = (group for group in admitted if group // size in slice_.prompts)
    groups = tuple(sorted(islice(ready, min(share, pace.max_groups_per_lease))))
    return _handed_out(run, groups) if groups else None


def _handed_out(run: Run, groups: tuple[int, ...]) -> RolloutSpec:
    """By the newest policy, and the noise that was drawn, if any was."""
    batches = sorted({group // rl.pace(run).groups_per_update for group in groups})
    return RolloutSpec(
        run=run.name,
        version=run.version,
        policy=run.chain[-1].policy,
        groups=groups,
        prompts=tuple(rl.course(run).prompts[batch] for batch in batches),
        noise=noise_of(run),
    )


def _trusted_with(asking: Asking, share: int) -> int:
    """Of its share, what a node gets: one group before this run has measured it, half after each setback,
    and no more than it does, with slack, in the longest time that there is.
    """
    run, speed = asking.run, asking.node.speed(WORDS.name, asking.run.name)
    longest_ms = run.opened.terms.trusted_deadline_ms * 1000 // rl.pace(run).slack_milli
    most = speed.rate_micro * longest_ms // 1_000_000_000
    return max(min(share >> speed.setbacks, most), 1)


def _paid_for(asking: Asking, most_micro: int, share: int) -> int:
    """As many groups as the run can still pay."""
    price = rl.pace(asking.run).price_micro
    if asking.rate_micro is not None:
        price = -(-asking.rate_micro * _most_tokens(asking.run, 1) // MICRO)
    return min(share, most_micro // price) if price else share


def _most_tokens(run: Run, num_groups: int) -> int:
    return num_groups * rl.pace(run).group_size * rl.pace(run).max_new_tokens


def groups_per_second_micro(run: Run, node: Node) -> int:
    """What a node counts for among others: its measured rate over all runs, before that its own claim at
    full-length rollouts.

    0, and so the smallest share, for a node that claimed much and then let a lease run out.
    """
    tally = node.tallies.get(WORDS.name)
    if tally is not None and tally.rate_micro:
        return tally.rate_micro
    return 0 if node.expired else _claimed(run, node.capabilities.speed_milli)


def _claimed(run: Run, speed_milli: int) -> int:
    return speed_milli * 1000 // (rl.pace(run).group_size * rl.pace(run).max_new_tokens)


def _weight(asking: Asking) -> int:
    """What a node counts for when work is shared out: a claim, no more than the slowest who proved theirs."""
    rate, slowest = groups_per_second_micro(asking.run, asking.node), asking.crowd.slowest
    return min(rate, slowest) if slowest and WORDS.name not in asking.node.tallies else rate


def _company(asking: Asking, own: int) -> tuple[int, int]:
    """(total rate, slowest rate) of all who sample, the asking node included.

    Those whom nobody measured count, together, no more than those who were: joining costs nothing.
    """
    run, crowd = asking.run, asking.crowd
    known = [crowd.slowest, _claimed(run, crowd.slowest_claim_milli), own]
    slowest = min((rate for rate in known if rate > 0), default=1)
    unmeasured = _claimed(run, crowd.claimed_milli) + crowd.unknown * slowest
    total = crowd.measured + min(unmeasured, crowd.measured or unmeasured)
    return total if asking.is_counted else total + (own or slowest), slowest


def _patience_ms(run: Run, node: Node, spec: RolloutSpec) -> int:
    """By the node's rate on this run, doubled after each setback; a claim buys little."""
    pace, known = rl.pace(run), node.speed(WORDS.name, run.name)
    rate = known.rate_micro or _claimed(run, node.capabilities.speed_milli)
    expected_ms = _expected_ms(spec, rate)
    wanted = max(pace.min_deadline_ms, expected_ms * pace.slack_milli // 1000)
    if not known.rate_micro:
        wanted = min(wanted, CLAIM_PATIENCE * pace.min_deadline_ms)
        wanted = max(wanted, PREPARING_MS if _prepares(run, node) else 0)
    return min(wanted << known.setbacks, run.opened.terms.trusted_deadline_ms)


def _prepares(run: Run, node: Node) -> bool:
    """Whether more than our own engine has to start before the first token: a library, or several processes."""
    return rl.pace(run).backend is not None or node.capabilities.engine != OWN_ENGINE


def _expected_ms(spec: RolloutSpec, rate_micro: int) -> int:
    return len(spec.groups) * 1_000_000_000 // rate_micro if rate_micro else 0


def _waited_for(run: Run) -> Iterable[str]:
    slice_ = rl.course(run)
    if run.phase is not Phase.RUNNING or not slice_.owed or _due(run):
        return ()
    works = dict.fromkeys(slice_.holders.get(group) for group in rl.next_batch(run))
    return [work for work in works if work is not None and work not in slice_.twins]


def _late_ms(run: Run, node: Node, lease: Lease) -> int:
    rate = node.speed(WORDS.name, run.name).rate_micro
    return max(LATE * _expected_ms(_spec(lease), rate), rl.pace(run).min_deadline_ms)


def _copy_takes_ms(run: Run, node: Node, spec: RolloutSpec) -> int | None:
    known = node.speed(WORDS.name, run.name)
    return None if known.setbacks or not known.rate_micro else _expected_ms(spec, known.rate_micro)


def _bounds(run: Run, lease: Lease) -> rollouts.RolloutBounds:
    spec = _spec(lease)
    return rollouts.bounds_of(
        rl.pace(run), work=lease.work, policy=spec.policy, num_groups=len(spec.groups)
    )


def _check(run: Run, lease: Lease, answer: RolloutAnswer) -> None:
    bounds = _bounds(run, lease)
    if answer.policy != bounds.policy:
        raise refusals.WrongPolicy(f"sampled from {answer.policy}, the lease says {bounds.policy}")
    refusals.require_contract(answer.exact, bounds.exact)
    refusals.require_engine(answer.engine, rl.pace(run).engine)
    if answer.result.size > rollouts.max_rollout_bytes(bounds):
        raise refusals.TooLarge(
            f"result of {answer.result.size} bytes is larger than any honest one"
        )


def _inspect(run: Run, lease: Lease, answer: RolloutAnswer, read: ReadBlob) -> None:
    try:
        counted = rollouts.check_rollouts(read(answer.result), _bounds(run, lease))
    except BadPayload as error:
        refusal = next(refusal for fault, refusal in _REFUSALS if isinstance(error, fault))
        raise refusal(str(error)) from None
    if answer.num_tokens != counted:
        raise refusals.WrongShape(f"num_tokens says {answer.num_tokens}, the payload has {counted}")


def _granted(run: Run, lease: Lease) -> Run:
    spec, work = _spec(lease), lease.work
    slice_, taken, first = rl.course(run), set(spec.groups), rl.num_first(run)
    if spec.noise != noise_of(run) or not is_ready(run):
        raise ValueError(f"{work} is by noise {spec.noise}, the run's is {noise_of(run)}")
    holder, *others = {slice_.holders.get(group) for group in taken}
    if others or holder in slice_.twins:
        raise ValueError(f"groups {spec.groups} are in the hands of {holder} and others")
    if holder is not None:
        return rl.with_course(run, twins=slice_.twins.put_all([(work, holder), (holder, work)]))
    return rl.with_course(
        run,
        pool=tuple(group for group in slice_.pool if group not in taken),
        next_group=max([slice_.next_group, *(group + 1 for group in taken if group < first)]),
        holders=slice_.holders.put_all((group, work) for group in taken),
    )


def _given_up(run: Run, lease: Lease) -> Run:
    """Its groups go back, unless a second node holds them."""
    slice_, groups = rl.course(run), _spec(lease).groups
    twin = slice_.twins.get(lease.work)
    if twin is not None:
        return rl.with_course(
            run,
            twins=slice_.twins.drop(lease.work, twin),
            holders=slice_.holders.put_all((group, twin) for group in groups),
        )
    pool = tuple(sorted((*slice_.pool, *groups)))
    return rl.with_course(run, pool=pool, holders=slice_.holders.drop(*groups))


def _accepted(run: Run, lease: Lease, answer: RolloutAnswer, moment: Moment) -> Run:
    slice_, spec, batch = rl.course(run), _spec(lease), rl.next_batch(run)
    done = AcceptedWork(work=lease.work, spec=spec, answer=answer)
    return changed(
        run,
        course=changed(
            slice_,
            holders=slice_.holders.drop(*spec.groups),
            accepted=slice_.accepted.put_all((group, lease.work) for group in spec.groups),
            results=slice_.results.put(lease.work, done),
            parties=slice_.parties.put(lease.work, (lease.node, lease.price_micro)),
            owed=slice_.owed - sum(group in batch for group in spec.groups),
            num_groups=slice_.num_groups + len(spec.groups),
            num_tokens=slice_.num_tokens + answer.num_tokens,
            rollout_bytes=slice_.rollout_bytes + answer.result.size,
        ),
    )


def _spec(lease: Lease) -> RolloutSpec:
    if not isinstance(lease.spec, RolloutSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="rl",
    slice=None,
    audited=True,
    due=_due,
    needs=lambda run: run.opened.pace.needs,
    offer=_offer,
    patience_ms=_patience_ms,
    price_micro=lambda run, spec: rl.pace(run).price_micro * len(spec.groups),
    most_tokens=lambda run, spec: _most_tokens(run, len(spec.groups)),
    upload_limit=lambda run, lease: rollouts.max_rollout_bytes(_bounds(run, lease)),
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=_given_up,
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(
        len(_spec(lease).groups), answer.num_tokens, answer.result.size
    ),
    copies=Copies(
        waited_for=_waited_for,
        late_ms=_late_ms,
        spec=lambda run, lease: _handed_out(run, _spec(lease).groups),
        expected_ms=_copy_takes_ms,
        twin=lambda run, work: rl.course(run).twins.get(work),
    ),
    size=lambda spec: len(spec.groups),
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
