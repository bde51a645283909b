"""Episodes on this machine: played on a node from a run's pace, and replayed by whoever grades.

Parts: `sample`, `played` (where rollouts are sampled), `upheld` (what of accepted rollouts counts).
Law: what nodes say of an environment's answers, or of a completion's end, is not believed; it is found again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from archipel.engine.protocol import Sampler
from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import Tokenizer
from archipel.records.episodes import PLAYED, EpisodeTerms
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe import EnvironmentSection
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.episodes import Conduct, conduct_by, void
from archipel.training.groups import SPLIT
from archipel.training.wording import Wording
from archipel.work.kind import Progress, WorkFailed


def sample(
    engine: Sampler,
    requests: Sequence[Request],
    conduct: Conduct | None,
    progress: Progress,
    split: str = SPLIT,
) -> Sequence[tuple[Rollout, ...]]:
    """Rollouts of each request: completions, or by `conduct` episodes of the tasks that the keys number."""
    if conduct is None:
        return engine.generate(requests, progress)
    return conduct.play(engine.generate, requests, split, progress)


def played(pace: RlPace, model: Path) -> Conduct | None:
    """How a run's episodes go, by its pace and the tokenizer in the directory `model`; None: it has none.

    Raises:
        WorkFailed: this software does not play them, or the model's template does not do for it.
    """
    if pace.episodes is None:
        return None
    try:
        environment = make_environment(_section(pace.episodes), pace.seed, None)
        return conduct_by(pace.episodes, environment, Tokenizer.from_directory(model))
    except (InvalidEnvironment, InvalidChat) as error:
        raise WorkFailed(f"the run's episodes cannot be played: {error}") from None


def upheld(
    conduct: Conduct | None,
    index: int,
    rollouts: Sequence[Rollout],
    limit: int,
    on_void: Callable[[int], None] = lambda number: None,
    wording: Wording | None = None,
) -> list[Rollout]:
    """The rollouts of group `index`, those void that the environment did not write as they say, or that say what
    is not allowed, or end where they must not.

    limit: tokens that each could have. on_void: is told the number of each void one.
    """
    kept = list(rollouts)
    for number, rollout in enumerate(rollouts):
        is_played = conduct is None or conduct.upholds(SPLIT, index, rollout, limit)
        if not is_played or (wording is not None and wording.fault(rollout)):
            on_void(number)
            kept[number] = void(rollout)
    return kept


def _section(terms: EpisodeTerms) -> EnvironmentSection:
    names = [name for name, rules in PLAYED.items() if rules == terms.environment]
    if not names:
        raise WorkFailed(
            f"the run's episodes follow {terms.environment}; this version of archipel plays "
            f"{', '.join(PLAYED.values())}"
        )
    return EnvironmentSection(name=names[0], parameters=dict(terms.parameters))
