"""The programmes, as a child process sees them: one row each. How versions are examined and answers recomputed
stands in the file of a programme's name.

Law: a programme's file is imported when its first such work comes; every programme of
`records.programmes` has a file here, and no other.
"""

from importlib import import_module

from archipel.records.programmes import WORDS_OF
from archipel.work.kind import Context, EngineChoice
from archipel.work.programme import Auditor, Examiner

PROGRAMMES = ("rl", "pretrain", "door")
"""Names of programmes and of their files, each of which has `examiner(context) -> Examiner`;
a file `<name>_audits` beside it has `auditor(context, choice) -> Auditor`; of a programme whose answers are sampled it loads no trainer."""

if set(PROGRAMMES) != set(WORDS_OF):
    raise TypeError(
        f"programmes in only one of the tables: {sorted(set(PROGRAMMES) ^ set(WORDS_OF))}; each needs "
        "its words in records.programmes and its examination in work.programmes"
    )


def examiner_of(context: Context) -> Examiner:
    """A fresh examiner of the context's run.

    Raises:
        WorkFailed: the recipe was not given, or cannot be used.
    """
    name = context.opened.pace.programme
    examiner: Examiner = import_module(f"archipel.work.programmes.{name}").examiner(context)
    return examiner


def auditor_of(context: Context, choice: EngineChoice) -> Auditor:
    """A fresh auditor of the context's run. choice: where its node computes.

    Raises:
        UnknownContract: nobody can recompute its answers here.
        WorkFailed: the model directory cannot be used.
    """
    name = context.opened.pace.programme
    auditor: Auditor = import_module(f"archipel.work.programmes.{name}_audits").auditor(
        context, choice
    )
    return auditor
