"""Tally: a version is asked to go on counting."""

from archipel.records.programmes.tally import TallyRecipe

from archipel.engine.engine import Request
from archipel.work.kind import Context, Progress
from archipel.work.policies import Policy
from archipel.work.programme import Examiner, Marks, Seated

PROMPT = (1, 2, 3)
NUM_TOKENS = 5


def examiner(context: Context) -> Examiner:
    enough = context.recipe_as(TallyRecipe).run.enough

    def examine(policy: Policy, seated: Seated, progress: Progress) -> Marks:
        version = policy.manifest.version
        request = Request("on", PROMPT, version, 1, NUM_TOKENS, 0.0, ())
        ((counted,),) = seated().generate([request], progress)
        return Marks({"counted": len(counted.tokens), "enough": enough}, {"by": "tally"})

    return Examiner(examine=examine, close=lambda: None)
