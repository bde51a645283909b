"""What `archipel serve cascade` and `archipel serve calibrate` share: which two models, and where the large one is."""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending
from archipel.cli.grouped import together
from archipel.cli.serve import command as itself
from archipel.cli.serve_shared import LOADING, alike, check_alone, how_loaded, loading, with_options

if TYPE_CHECKING:
    from archipel.serve.asked import About, Asked
    from archipel.serve.cascade.policy import Models
    from archipel.serve.desk import Desk
    from archipel.serve.drafting import Draft
    from archipel.serve.served import Served

SMALL, LARGE = "small", "large"
pair_options = together(
    click.argument("models", nargs=-1, required=True, metavar="small=DIR [large=DIR]"),
    click.option(
        "--large-at",
        metavar="URL",
        help="Where the large model is another server that speaks OpenAI's API, such as http://desktop:8450/v1.",
    ),
    click.option("--large-name", metavar="NAME", help="What it is called there."),
    click.option(
        "--large-key-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Holds the API key for it, mode 0600.",
    ),
    click.option(
        "--allow-leaving",
        is_flag=True,
        help="Questions may leave this machine for --large-at; without this none does.",
    ),
)
"""small=DIR large=DIR, and where the large one is else."""


def with_loading(command: click.Command) -> click.Command:
    """The command with the options that say how both are loaded."""
    each = "Memory of each model for what is being read and said."
    return with_options(command, itself, *LOADING, max_cache_gb=each)


@dataclass(frozen=True)
class Pair:
    """Two models, ready."""

    small: "Served"
    large: "Asked"
    folder: Path
    """Of the small one."""
    digest: str
    """Of that folder."""
    large_digest: str
    steady: str = ""
    """What is said of answers that do not depend on their company; empty: nobody asked."""

    @property
    def said(self) -> str:
        """For whoever looks."""
        return f"small {self.small.name}, large {self.large.name}{self.steady}"

    @property
    def models(self) -> "Models":
        """As a policy names them."""
        from archipel.serve.cascade.policy import Models

        about: About | None = getattr(self.large, "about", None)
        large = "" if about is None else about.precision
        return Models(self.digest, self.small.about.precision, large)

    @property
    def desks(self) -> "tuple[Desk, ...]":
        """That drive them; one elsewhere has none."""
        found = (self.small.desk, getattr(self.large, "desk", None))
        return tuple(each for each in found if each is not None)

    def close(self) -> None:
        """End their desks."""
        for desk in self.desks:
            desk.close()


def loaded_pair(models: tuple[str, ...], max_new_tokens: int, given: dict[str, Any]) -> Pair:
    """given: what `pair_options` and `with_loading` took.

    Raises:
        Mendable: one cannot be used, or questions would have to leave and may not.
    """
    named = _named(models)
    elsewhere = _elsewhere(given, LARGE in named)
    from archipel.serve.cascade.policy import digest_of
    from archipel.serve.served import serve_folder
    from archipel.work.folders import folder_of

    how = how_loaded("", max_new_tokens, given)

    def served(path: Path, draft: "Draft") -> "Served":
        folder = folder_of(path, None, given["device"])
        called = replace(how, name=path.resolve().name, draft=draft)
        return serve_folder(folder, called, datetime.now().astimezone())

    with loading(given["device"]):
        # A small model's own small model would cost more than it saves.
        small = served(named[SMALL], "none" if isinstance(how.draft, Path) else how.draft)
        large = elsewhere or served(named[LARGE], how.draft)
        if elsewhere is None and (small.chat_template is None) != (large.chat_template is None):
            raise Mendable(
                "one of the two models has a chat template and the other has none; a cascade asks both the same question: "
                "take two of a kind"
            )
        large_digest = (
            digest_of(named[LARGE]) if elsewhere is None else f"{elsewhere.url} {elsewhere.name}"
        )
        steady = alike((small, large)) if how.is_deterministic else ""
        return Pair(small, large, named[SMALL], digest_of(named[SMALL]), large_digest, steady)


def check_pair(models: tuple[str, ...], given: dict[str, Any]) -> None:
    """Before anything is opened or loaded.

    Raises:
        click.UsageError, Mendable: see `_elsewhere`.
    """
    check_alone(given)
    if _elsewhere(given, LARGE in _named(models)) is None:
        return
    if given["prove_offline"]:
        raise click.UsageError("--prove-offline leaves the network, and --large-at needs it")
    if given["deterministic"]:
        raise click.UsageError(
            "--deterministic promises nothing of --large-at: whether that server repeats an answer is for it to say; take "
            "large=DIR"
        )
    if given["draft"] not in ("none", "prompt"):
        raise click.UsageError(
            "--draft DIR guesses for a large model here, and --large-at is another server; say --draft prompt for the small "
            "one, or large=DIR"
        )


def _named(models: tuple[str, ...]) -> dict[str, Path]:
    """Raises click.UsageError: not small=DIR, with large=DIR or without."""
    found: dict[str, Path] = {}
    for each in models:
        name, sign, place = each.partition("=")
        if name not in (SMALL, LARGE) or not sign or name in found:
            raise click.UsageError(f"{each!r:.80} is no model; expected small=DIR and large=DIR")
        if not Path(place).is_dir():
            raise click.UsageError(f"{name}: {place!r:.200} is no directory")
        found[name] = Path(place)
    if SMALL not in found:
        raise click.UsageError("which is the small model? Say small=DIR")
    return found


def _elsewhere(given: dict[str, Any], is_here: bool) -> Any:
    """The large model on another server, or None.

    Raises:
        click.UsageError: the large one is nowhere, or at two places, or may not be asked. Mendable: its key cannot be
            used.
    """
    url, name = given["large_at"], given["large_name"]
    if (url is not None) is is_here:
        raise click.UsageError("where is the large model? Say large=DIR, or --large-at URL")
    if url is None:
        return None
    if not given["allow_leaving"]:
        raise click.UsageError(
            f"with --large-at questions leave this machine for {url}: say --allow-leaving if they may, or large=DIR to "
            "keep them here"
        )
    if not url.startswith(("http://", "https://")) or not name:
        raise click.UsageError(
            "--large-at is an address such as http://desktop:8450/v1, and --large-name what the model is called there"
        )
    from archipel.serve.access import InvalidKeys, keys_of
    from archipel.serve.cascade.away import Away

    key_file, key = given["large_key_file"], None
    if key_file is not None:
        with mending(InvalidKeys, OSError):
            key = keys_of(key_file)[0]
    return Away(name, url.rstrip("/"), round(time.time()), key)
