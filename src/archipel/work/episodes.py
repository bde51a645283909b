"""Episodes on this machine: played on a node from a run's pace, and replayed by whoever grades.

Parts: `sample`, `played` (how a node plays a run's), `upholding` and `upheld` (what of accepted rollouts counts).
Law: what nodes say of an environment's answers, or of a completion's end, is not believed; it is found again, or
sealed by the trusted role.
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
from archipel.records.statements import RunOpened
from archipel.training.asking import Asking
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.episodes import Conduct, conduct_by, void
from archipel.training.groups import SPLIT
from archipel.training.wording import Wording
from archipel.work.kind import Context, Progress, WorkFailed
from archipel.work.seals import Check, check_of


def sample(
    engine: Sampler,
    requests: Sequence[Request],
    conduct: Conduct | Asking | None,
    progress: Progress,
    split: str = SPLIT,
) -> Sequence[tuple[Rollout, ...]]:
    """Rollouts of each request: completions, or by `conduct` episodes of the tasks that the keys number."""
    if conduct is None:
        return engine.generate(requests, progress)
    return conduct.play(engine.generate, requests, split, progress)


def played(pace: RlPace, model: Path) -> Conduct | None:
    """How a run's episodes go, by its pace and the tokenizer in the directory `model`; None: it has none, or their
    turns are asked.

    Raises:
        WorkFailed: this software does not play them, or the model's template does not do for it.
    """
    if pace.episodes is None or pace.episodes.is_hosted:
        return None
    try:
        environment = make_environment(_section(pace.episodes), pace.seed, None)
        return conduct_by(pace.episodes, environment, Tokenizer.from_directory(model))
    except (InvalidEnvironment, InvalidChat) as error:
        raise WorkFailed(f"the run's episodes cannot be played: {error}") from None


def asked(context: Context) -> Asking | None:
    """How a node plays episodes whose turns are asked; None: it has the environment, or there is none.

    Raises:
        WorkFailed: nobody here can be asked.
    """
    terms = context.pace_as(RlPace).episodes
    if terms is None or not terms.is_hosted:
        return None
    if context.ask is None:
        raise WorkFailed("these episodes are answered by the trusted role, and nobody asks it here")
    return Asking(context.ask)


def upholding(conduct: Conduct | None, opened: RunOpened | None, limit: int) -> Check | None:
    """What tells whether an episode of a run counts; None: it has none.

    limit: tokens that each could have. opened: needed where turns are asked.

    Raises:
        InvalidEnvironment: it is needed, and missing.
    """
    if conduct is None:
        return None
    pace = None if opened is None else opened.pace
    if not conduct.is_hosted:
        return lambda group, number, rollout: conduct.upholds(SPLIT, group, rollout, limit)
    if opened is None or not isinstance(pace, RlPace):
        raise InvalidEnvironment("whose seals these episodes need stands in the run's opening")
    return check_of(opened, conduct.chosen)


def upheld(
    check: Check | None,
    index: int,
    rollouts: Sequence[Rollout],
    on_void: Callable[[int], None] = lambda number: None,
    wording: Wording | None = None,
) -> list[Rollout]:
    """The rollouts of group `index`, those void that the environment did not write as they say, or that say what
    is not allowed, or end where they must not.

    on_void: is told the number of each void one.
    """
    kept = list(rollouts)
    for number, rollout in enumerate(rollouts):
        is_played = check is None or check(index, number, rollout)
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
