"""`archipel serve router`: several specialists behind one name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending
from archipel.cli.serve import command as itself
from archipel.cli.serve import named_folders
from archipel.cli.serve_shared import (
    ALONE,
    DOOR,
    LOADING,
    PROMISES,
    alike,
    check_alone,
    how_loaded,
    loading,
    opened,
    with_options,
)

if TYPE_CHECKING:
    from archipel.serve.router.router import Router
    from archipel.serve.served import How


@click.command("router")
@click.argument("base", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("specialists", nargs=-1, required=True, metavar="NAME=DIR...")
@click.option(
    "--routes",
    "routes_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Who knows what, as archipel route train wrote it over this BASE.",
)
@click.option(
    "--name", default="router", show_default=True, metavar="NAME", help="What clients call it."
)
def command(
    base: Path,
    specialists: tuple[str, ...],
    routes_file: Path,
    name: str,
    max_new_tokens: int,
    **given: Any,
) -> None:
    """Serve specialists behind one name: each question goes to the one whose topic it is, unknown ones to BASE.

    A specialist is an adapter of BASE, which shares its weights and cache, or a model of its own. The names are those of
    archipel route train.

    \b
    Examples:
      archipel serve router base law=law-adapter code=code-adapter --routes routes.json
    """
    check_alone(given)
    named = named_folders(specialists)
    opening = opened(given)
    if opening is None:
        return
    from archipel.cli.serve_open import keep_open
    from archipel.serve.router.routes import BadRoutes

    how, device = how_loaded(base.resolve().name, max_new_tokens, given), given["device"]
    with loading(device), mending(BadRoutes):
        one = _router(base, named, routes_file, name, how, device)
        said = f"{', '.join(one.specialists)} over {one.base.name}"
        if how.is_deterministic:
            said += alike((one.base, *one.specialists.values()))  # type: ignore[arg-type]
    desks = dict.fromkeys(
        each.desk for each in (one.base, *one.specialists.values()) if hasattr(each, "desk")
    )
    keep_open(opening, {name: one}, said, desks)
    went = ", ".join(f"{who} {count}" for who, count in one.tally.most_common())
    click.echo(f"{one.tally.total()} questions: {went or 'none'}", err=True)


def _router(
    base: Path, named: dict[str, Path], routes_file: Path, name: str, how: "How", device: str
) -> "Router":
    """Raises BadRoutes, InvalidModel and others: see the command."""
    from dataclasses import replace
    from datetime import datetime

    from archipel.model.adapter_files import has_adapter
    from archipel.model.config_files import read_config
    from archipel.serve.cascade.policy import digest_of
    from archipel.serve.router.router import Router
    from archipel.serve.router.routes import read_routes
    from archipel.serve.served import serve_folder, with_adapters
    from archipel.work.folders import folder_of

    width = read_config(base).hidden_size
    routes = read_routes(routes_file, digest_of(base), width)
    known = {topic.name for topic in routes.topics}
    if missing := sorted(named.keys() - known):
        raise Mendable(
            f"{routes_file} has no routes to {', '.join(missing)}; it has {', '.join(sorted(known))}: add them with archipel "
            "route train --add-to"
        )
    now = datetime.now().astimezone()
    general = serve_folder(folder_of(base, None, device), how, now)
    adapters = {each: path for each, path in named.items() if has_adapter(path)}
    found = with_adapters(general, base, adapters)
    for each in named.keys() - adapters.keys():
        folder = folder_of(named[each], None, device)
        found[each] = serve_folder(folder, replace(how, name=each), now)
    return Router(name, general, {each: found[each] for each in named}, routes)


with_options(
    command,
    itself,
    *DOOR,
    *LOADING,
    *PROMISES,
    *ALONE,
    max_cache_gb="Memory of the base with its adapters, and of each other model, for what is being read and said.",
)
