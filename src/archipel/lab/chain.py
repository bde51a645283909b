"""The chain of policy versions of a run, whatever programme makes them. Pure."""

from collections.abc import Mapping

from archipel.lab.state import Phase, Run, Version
from archipel.records.chain import Publication
from archipel.records.changed import changed

MAX_REWARDS_REMEMBERED = 2048
"""Points of a run's reward curve; beyond, every second one goes."""
REWARD = "reward_micro"


def published(
    run: Run, made: Publication, entry: int, at_ms: int, metrics: Mapping[str, int]
) -> Run:
    """The run with one more version; what can no longer be fetched is dropped.

    entry, at_ms: where in the ledger and when it was published.
    """
    version = Version(
        made.version, made.policy, made.manifest, made.anchor, made.delta, entry, at_ms
    )
    run = changed(run, chain=_kept((*run.chain, version), run.opened.terms.keep_versions))
    if version.version == 0:
        run = changed(run, version_0_at_ms=version.at_ms)
    elif REWARD in metrics and version.version % run.reward_stride == 0:
        run = _with_reward(run, metrics[REWARD])
    if run.phase is Phase.PREPARING:
        run = changed(run, phase=Phase.RUNNING)
    if run.phase is Phase.RUNNING and run.version == run.opened.terms.versions:
        run = changed(run, phase=Phase.COMPLETE)
    return run


def _with_reward(run: Run, reward_micro: int) -> Run:
    rewards = (*run.rewards_micro, reward_micro)
    if len(rewards) <= MAX_REWARDS_REMEMBERED:
        return changed(run, rewards_micro=rewards)
    return changed(run, rewards_micro=rewards[1::2], reward_stride=run.reward_stride * 2)


def _kept(chain: tuple[Version, ...], keep: int) -> tuple[Version, ...]:
    """From the newest anchor that all of the newest `keep` versions can be reached from."""
    first_wanted = chain[-1].version - keep + 1
    start = 0
    for place, version in enumerate(chain):
        if version.version > first_wanted:
            break
        if version.anchor is not None:
            start = place
    return chain[start:]


def version_of(run: Run, number: int) -> Version | None:
    """A version that can still be fetched; None for another."""
    place = number - run.chain[0].version if run.chain else -1
    return run.chain[place] if 0 <= place < len(run.chain) else None


def since(run: Run, number: int) -> tuple[Version, ...]:
    """The versions from `number` on that can still be fetched."""
    if not run.chain:
        return ()
    return run.chain[max(number - run.chain[0].version, 0) :]
