"""`archipel bench serve`: served models beside llama.cpp, transformers and vLLM."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller
from archipel.cli.outputs import PICTURE


@click.command("serve")
@click.argument(
    "model", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--llama",
    envvar="ARCHIPEL_LLAMA_FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder in which npm installed node-llama-cpp [$ARCHIPEL_LLAMA_FOLDER].",
)
@click.option(
    "--side",
    "only",
    multiple=True,
    metavar="NAME",
    help='Only sides whose names begin so, as "archipel int8" or "llama.cpp"; may be given several times.',
)
@click.option(
    "--case",
    "cases",
    multiple=True,
    metavar="NAME",
    help='Only cases whose names begin so, as "8 clients"; may be given several times.',
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Of everything, in turn [5; quick: 2].")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Processor threads of every side [1]."
)
@click.option("--plot", type=PICTURE, help="Draw speeds and waits here.")
@quick_option("Fewer clients and shorter texts, two rounds: some minutes.")
@JSON
def command(
    model: Path | None, llama: Path | None, only: tuple[str, ...], cases: tuple[str, ...], plot: Path | None, quick: bool,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Measure the directory MODEL (or one made on the spot) as served by us and by others, side by side in one run.

    Time to the first token and tokens per second at 1, 4, 8 and 16 clients, with 2,000-token prompts and with shared
    beginnings: ours in float32, bfloat16, int8 and int4 over HTTP; llama.cpp (npm's node-llama-cpp) at 16, 8 and 4
    bits; transformers' continuous batching; vLLM where ARCHIPEL_VLLM_PYTHON names a Python that has it. Who is not
    there is said and left out. Ctrl-C shows what was measured.

    \b
    Examples:
      archipel bench serve --quick
      archipel bench serve smollm2 --llama llama --plot serve.png
      archipel bench serve smollm2 --side "archipel bfloat16" --side "llama.cpp float16" --json
    """
    import os
    from dataclasses import replace

    from archipel.bench.endings import in_order
    from archipel.bench.serve import QUICK, Entered, Plan, measure
    from archipel.bench.serve_asking import NoAnswer
    from archipel.bench.serve_report import draw, table
    from archipel.bench.serve_sides import VLLM, Peers, ServerFailed
    from archipel.cli.benches import chosen
    from archipel.cli.doors import Mendable, child_environment, mending, show

    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "rounds", "threads"))
    if cases:
        plan = replace(
            plan, cases=tuple(each for each in plan.cases if each.name.startswith(cases))
        )
    if not plan.cases:
        raise Mendable(
            f"no case begins with {', '.join(cases):.200}; see --help for what is measured"
        )
    found: dict[str, Any] = {}
    entered = Entered(model, Peers(llama, os.environ.get(VLLM)), only, child_environment())
    try:
        with in_order(), mending(ServerFailed, NoAnswer, OSError, ValueError, RuntimeError):
            measure(plan, entered, teller(), found)
    finally:
        if found:  # Ctrl-C keeps what there is
            show(found, as_json, lambda: table(found))
            if plot is not None and found["rows"]:
                draw(found, plot)
