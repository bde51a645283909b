"""`archipel observe`: adoption and openness of the world's open models, from dated snapshots."""

import click

from archipel.cli.archipel import Lazy

VERBS = {
    "import": ("observe_import", "Take in others' tables and lists as a new snapshot"),
    "fetch": ("observe_fetch", "Fetch new facts politely, and keep them as a new snapshot"),
}


@click.group(cls=Lazy, commands_in=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """What is known of the world's open models: adoption, standing, openness, lag; each figure with its rows.

    \b
    Examples:
      archipel observe import epoch all_ai_models.csv --out epoch-2026-04
      archipel observe fetch --from huggingface --limit 2000 --out hub-2026-11
    """
