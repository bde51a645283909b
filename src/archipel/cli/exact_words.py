"""What `archipel exact` says: where its text is from, and what was measured on it."""

from collections.abc import Callable
from pathlib import Path

from archipel.engine.exact.choice import NotCloseEnough
from archipel.engine.exact.forcing import Line
from archipel.work.exact_check import Checked, Source, Subject


def source_of(text: Path | None, recipe_name: str | None, secret_file: Path | None) -> Source:
    """A file's text, a recipe's answers, or the shipped text."""
    from archipel.work import calibration

    if recipe_name is not None:
        return _recipe(recipe_name, secret_file)

    def lines(subject: Subject, most: int, on_tokens: Callable[[int], None]) -> list[Line]:
        model = (subject.tokenizer, subject.config, most)
        if text is not None:
            return calibration.lines_of_file(text, *model)
        return calibration.lines_of_text(calibration.shipped_text(), *model)

    return lines


def _recipe(name: str, secret_file: Path | None) -> Source:
    from archipel.cli.recipes import find_recipe
    from archipel.cli.secrets import given_secret
    from archipel.work.calibration import lines_of_recipe

    recipe, secret = find_recipe(name), given_secret(secret_file)

    def lines(subject: Subject, most: int, on_tokens: Callable[[int], None]) -> list[Line]:
        model = (subject.config, subject.tokenizer, subject.state)
        return lines_of_recipe(recipe, model, secret, most, on_tokens)

    return lines


def table(checked: Checked) -> str:
    """For people."""
    rows = ["        KL from fp32 (95%)     largest     TV      loss     same best token"]
    rows += [
        f"{name:<6}  {each.kl:.2e} +- {each.kl_error:.0e}   {each.kl_largest:.2e}  {each.tv:.5f}  "
        f"{each.loss:.5f}  {each.agreement:.4f}"
        for name, each in checked.figures.items()
    ]
    positions = next(iter(checked.figures.values())).positions
    rows.append(f"{positions} positions; text {checked.text:.23}; weights {checked.state:.23}")
    try:
        choice = checked.choice()
    except NotCloseEnough:
        return "\n".join(rows)
    limit = "bf16's own distance" if choice.bound_from == "bf16" else "the bound given"
    rows.append(
        f"variant {choice.variant}: the cheapest within {choice.bound:.2e} nats, {limit} ({choice.identity})"
    )
    return "\n".join(rows)
