"""`archipel serve cascade`: a small and a large model behind one name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.serve import command as itself
from archipel.cli.serve_pair import check_pair, loaded_pair, pair_options, with_loading
from archipel.cli.serve_shared import ALONE, DOOR, PROMISES, opened, with_options

if TYPE_CHECKING:
    from archipel.cli.serve_pair import Pair
    from archipel.serve.cascade.cascade import Cascade


@click.command("cascade")
@pair_options
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="When the small model's answer will do, as archipel serve calibrate wrote it.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Confidence from which the small model's answer is given, instead of the policy's; 1 asks the large one always.",
)
@click.option(
    "--name", default="cascade", show_default=True, metavar="NAME", help="What clients call it."
)
def command(
    models: tuple[str, ...],
    policy_file: Path,
    threshold: float | None,
    name: str,
    max_new_tokens: int,
    **given: Any,
) -> None:
    """Serve two models behind one name: the small one answers what it can, the large one what it must.

    A gate over the small model's own reading of a question sends the plainly hard straight to the large one; the rest is
    answered small, and escalated where the answer's own tokens say that it is unsure. Nothing of an answer is
    said before it is known whose it is: small answers come at once, large ones stream. The large model may be another
    server of yours (--large-at), and only with --allow-leaving; bytes that left are counted at /metrics and
    /health, and said at the end.

    \b
    Examples:
      archipel serve cascade small=0.5B large=7B --policy policy.json
      archipel serve cascade small=0.5B --large-at http://desktop:8450/v1 --large-name 7B --allow-leaving --policy policy.json
    """
    from archipel.cli.doors import mending
    from archipel.cli.serve_open import keep_open
    from archipel.serve.cascade.policy import BadPolicy

    check_pair(models, given)
    opening = opened(given)
    if opening is None:
        return
    pair = loaded_pair(models, max_new_tokens, given)
    with mending(BadPolicy, OSError):
        one = _cascade(pair, policy_file, threshold, name)
    now = pair.models
    if other := one.policy.other_than(now.precision, now.large_precision):
        click.echo(
            f"{policy_file} was calibrated with {other}: how sure answers are was measured on other numbers; say --weights as "
            "then, or calibrate again",
            err=True,
        )
    large = one.policy.measured.share
    said = f"{pair.said}, {one.fingerprint}; about {large:.0%} of questions to the large one when it was calibrated"
    keep_open(opening, {name: one}, said, pair.desks)
    click.echo(_went(one), err=True)


def _cascade(pair: "Pair", policy_file: Path, threshold: float | None, name: str) -> "Cascade":
    """Raises BadPolicy."""
    from archipel.model.config_files import read_config
    from archipel.serve.cascade.cascade import Cascade
    from archipel.serve.cascade.policy import read_policy
    from archipel.work.folders import folder_of

    width = read_config(folder_of(pair.folder).model).hidden_size
    policy = read_policy(policy_file, pair.digest, width)
    if threshold is not None:
        policy = policy.model_copy(update={"threshold": threshold})
    return Cascade(name, pair.small, pair.large, policy)


def _went(one: "Cascade") -> str:
    tally, left = one.tally, one.large.counts()
    return (
        f"{tally.asked} questions: {tally.kept} answered small, {tally.straight} straight to the large model, "
        f"{tally.escalated} escalated; {left.get('bytes_left', 0)} bytes in {left.get('questions_left', 0)} questions "
        "left this machine"
    )


with_loading(
    with_options(
        command,
        itself,
        *DOOR,
        *PROMISES,
        *ALONE,
        draft="Guess tokens and check several in one step, which changes no answer: by what the text said before (prompt, for "
        "both models), or by a small model of the large one's tokens in DIR, for that one.",
    )
)
