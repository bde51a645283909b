"""The supervised stage of a release made again: from its recipe and seed, if anybody says that it came from there."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archipel.cli.rebuilding import Ended, Rebuilding
from archipel.cli.recomputing import READS_NOTHING, only_here
from archipel.cli.run_blobs import Altered, NotKept
from archipel.plurals import counted
from archipel.records.made import MAX_MADE_BYTES, NAME, Made, read_made
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import InvalidRecipe
from archipel.release.stages import Stage

if TYPE_CHECKING:
    from archipel.work.policies import Policy


def begun_again(rebuilding: Rebuilding, stages: Sequence[Stage]) -> Iterator[Ended]:
    """One stage at most."""
    for _ in stages:
        yield _begun(rebuilding)


def _begun(rebuilding: Rebuilding) -> Ended:
    from archipel.work.rebuilding import CANNOT_BEGIN, CANNOT_BEGIN_HERE, start_again

    subject, made = rebuilding.subject, _made(rebuilding)
    if subject.story.pace.adapter is not None:
        raise NotKept("the run trains an adapter, whose first weights nobody says the making of")
    recipe = _recipe(rebuilding, made)
    expected = subject.story.updates[0].answer.policy
    if made is not None and made.weights != expected:
        return "differs", f"{NAME} speaks of weights {made.weights}; the run begins with {expected}"

    def on_step(progress: object) -> None:
        rebuilding.tell(f"supervised step {getattr(progress, 'step', 0)}")

    first = 0 if made is None else made.first_example
    own = subject.scratch / f"supervised-{recipe.digest[-16:]}-{first}"
    try:
        with only_here(CANNOT_BEGIN_HERE):
            policy = start_again(recipe, first, own, on_step)
    except CANNOT_BEGIN as error:
        raise Altered(f"it cannot be made: {error}") from None
    if policy.manifest.state == expected:
        return "equal", ""
    return _unlike(rebuilding, made, policy)


def _unlike(rebuilding: Rebuilding, made: Made | None, policy: "Policy") -> Ended:
    """Nobody's claim, rounded on another class of machine, or made otherwise than its maker says."""
    subject, state = rebuilding.subject, policy.manifest.state
    if made is None:
        return (
            "not shown",
            f"nobody says what the first weights were made from, and the run's own recipe makes {state}",
        )
    here, there = (subject.machine, subject.threads), (made.machine, made.threads)
    where = f"made by {counted(made.threads, 'thread')} on {made.machine or 'a machine that is not named'}"
    if here != there:
        return (
            "not shown",
            f"it is {state} here, and was {where}: over many steps rounding adds up to other weights; make it again there "
            "(--threads)",
        )
    return "differs", f"it is {state} here, on the same class of machine; {made.weights} was said"


def _made(rebuilding: Rebuilding) -> Made | None:
    """What the maker of the first weights said of them; None: nothing."""
    named = {file.name: file.blob for file in rebuilding.subject.opened.model}
    if NAME not in named:
        return None
    if named[NAME].size > MAX_MADE_BYTES:
        raise Altered(f"{NAME} has {named[NAME].size} bytes; at most {MAX_MADE_BYTES}")
    try:
        return read_made(rebuilding.subject.blobs.read(named[NAME]))
    except ValueError as error:
        raise Altered(f"{NAME} cannot be read: {error!s:.200}") from None


def _recipe(rebuilding: Rebuilding, made: Made | None) -> Recipe:
    """That was followed, if it may run here; without a word of its maker the run's own, which it often was."""
    if made is None:
        recipe = rebuilding.recipe
        if recipe.supervised is None:
            raise NotKept(
                "the run began with given weights, and nobody says what they were made from"
            )
        return recipe
    try:
        recipe = made.followed()
    except InvalidRecipe as error:
        raise Altered(f"{NAME}: its recipe cannot be read: {error}") from None
    if made.began is not None:
        raise NotKept(f"it began with the weights {made.began}, which the release does not hold")
    known, name = rebuilding.subject.known_recipes, recipe.environment.name
    if name not in READS_NOTHING and recipe.digest not in known:
        raise NotKept(
            f"environment {name!r} reads files or loads packages of this machine; read the recipe, and name it with "
            "--recipe"
        )
    return recipe
