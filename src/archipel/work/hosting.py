"""The trusted role's child as the environment of strangers' episodes: what follows their turns.

Law: an answer comes from the run's own environment and from nowhere else; an environment that raises, hangs or ends
its process costs the episode that made it do so, which is cut off there, and no other.
"""

from pathlib import Path

from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import InvalidRecipe, read_canonical
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.episodes import Conduct, conduct_of
from archipel.training.groups import SPLIT
from archipel.training.rounds import Step
from archipel.work.kind import WorkFailed
from archipel.work.messages import STEPS, AnswerTurns, Done, OpenEpisode
from archipel.work.recent import Recent


class Hosts:
    """Keeps the environments of the runs that were asked about lately."""

    def __init__(self) -> None:
        self._conducts: Recent[Path, Conduct] = Recent()

    def answer(self, message: AnswerTurns) -> Done:
        """Values: `steps`.

        Raises:
            WorkFailed: the run's environment cannot be made here.
        """
        conduct = self._conduct(message)
        steps = [_step(conduct, each) for each in message.episodes]
        return Done(
            files={}, values={STEPS: [[list(s.answer), s.is_over, s.retells] for s in steps]}
        )

    def _conduct(self, message: AnswerTurns) -> Conduct:
        held = self._conducts.get(message.model)
        if held is not None:
            return held
        self._conducts.make_room(message.model)
        try:
            recipe = read_canonical(message.recipe, Recipe)
            section, seed = recipe.environment, recipe.run.seed
            environment = make_environment(section, seed, message.secret)
            conduct = conduct_of(recipe, environment, Tokenizer.from_directory(message.model))
        except (InvalidRecipe, InvalidEnvironment, InvalidChat) as error:
            raise WorkFailed(f"the run's turns cannot be answered here: {error}") from None
        if conduct is None:
            raise WorkFailed("the run's tasks take one turn each: there is nothing to answer")
        self._conducts.put(message.model, conduct)
        return conduct


def _step(conduct: Conduct, episode: OpenEpisode) -> Step:
    return conduct.after(SPLIT, episode.task, episode.said, episode.left)
