"""`archipel bench pages`: bytes and milliseconds of each page of a large lab."""

from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller


@click.command("pages")
@click.option("--versions", type=click.IntRange(2, 100_000), help="Of the run [1000; quick: 60].")
@click.option("--nodes", type=click.IntRange(1, 100_000), help="That joined [10000; quick: 200].")
@click.option(
    "--rounds", type=click.IntRange(1, 1000), help="Each page is made so often [7; quick: 3]."
)
@quick_option("60 versions and 200 nodes: some seconds.")
@JSON
def command(quick: bool, as_json: bool, **given: Any) -> None:
    """Build a lab with many nodes and versions, and measure each of its pages: bytes, the first who asks, the next.

    The first page, with script, styles and chart library, should be below 200 kB and 300 ms.

    \b
    Examples:
      archipel bench pages --quick
      archipel bench pages --nodes 10000 --json
    """
    import tempfile
    from dataclasses import asdict, replace
    from pathlib import Path

    from archipel.bench.pages import QUICK, Cost, Plan, costs
    from archipel.cli.benches import chosen
    from archipel.cli.doors import show

    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "versions", "nodes", "rounds"))
    tell, found = teller(), list[Cost]()
    try:
        with tempfile.TemporaryDirectory() as folder:
            tell(f"making a lab of {plan.nodes} nodes and {plan.versions} versions")
            for each in costs(Path(folder) / "home", plan):
                found.append(each)  # Ctrl-C keeps these
                tell(f"{each.page}: {each.first_ms:.0f} ms")
    finally:
        if found:
            told = {
                "versions": plan.versions,
                "nodes": plan.nodes,
                "pages": [asdict(each) for each in found],
            }
            show(told, as_json, lambda: "\n".join(_lines(found)))


def _lines(found: Any) -> Any:
    width = max(len(_short(each.page)) for each in found)
    yield f"{'page':{width}}  {'kB':>7}  {'first ms':>9}  {'slowest':>8}  {'again ms':>9}"
    for each in found:
        yield (
            f"{_short(each.page):{width}}  {each.num_bytes / 1000:7.1f}  {each.first_ms:9.1f}  "
            f"{each.slowest_ms:8.1f}  {each.again_ms:9.1f}"
        )


def _short(page: str) -> str:
    return page if len(page) < 44 else f"{page[:20]}...{page[-20:]}"
