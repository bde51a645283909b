"""`archipel observe`: adoption and openness of the world's open models, from dated snapshots."""

import click

from archipel.cli.archipel import Lazy

VERBS = {
    "show": ("observe_show", "Figures of a snapshot: adoption, standing, lag, openness"),
    "list": ("observe_list", "What a snapshot holds, or which measures there are"),
    "page": ("observe_page", "A snapshot as one HTML page, or its pictures"),
    "check": ("observe_check", "What others published, recomputed from a snapshot"),
    "diff": ("observe_diff", "Two snapshots: rows that changed, and figures that moved"),
    "import": ("observe_import", "Take in others' tables and lists as a new snapshot"),
    "fetch": ("observe_fetch", "Fetch new facts politely, and keep them as a new snapshot"),
    "add-releases": ("observe_add", "Releases of one's own as models like any others"),
}


@click.group(cls=Lazy, commands_in=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Adoption and openness of the world's open models, from dated snapshots that anybody can replay.

    A snapshot is a folder of plain rows with digests; a small one ships with the software and is used where none is
    named with --at. Every figure names its definition, the snapshot and the rows that it came from; what is not known
    is unknown, never guessed.

    \b
    Examples:
      archipel observe show
      archipel observe show lag --benchmark mmlu
      archipel observe check
      archipel observe page --out observatory.html
      archipel observe fetch --from huggingface --limit 2000 --out hub-2026-11
    """
