"""`archipel release make`: a run as one signed bundle."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import DEFAULT_LAB_URL, LabUrl, Mendable, home_folder, mending, show
from archipel.cli.lab_door import EXPECT, JSON, bounded_fetch
from archipel.cli.names import run_names
from archipel.cli.release_asked import ALL, Licence, ParentPlace, Versions
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.cli.release_sources import Place
    from archipel.identity import Identity
    from archipel.release.contents import Sources
    from archipel.release.facts import Facts
    from archipel.release.gathering import Find, Ledger
    from archipel.release.index import Parent
    from archipel.release.oms.key import SigningKey
    from archipel.release.parents import Relation
    from archipel.release.stated import Stated

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.argument("name", metavar="RUN", shell_complete=run_names)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write; it must not exist.",
)
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help=f"A lab that runs [{DEFAULT_LAB_URL}]."
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="A lab's folder, a copy of one, or what `release collect` kept.",
)
@EXPECT
@click.option("--stated", "stated_path", type=_FILE, help="TOML of what only its owner can say.")
@click.option(
    "--secret-file",
    type=_FILE,
    help="The verifier's secret, to be given away with the release.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=_FILE,
    help="A file that the recipe reads; may be given several times.",
)
@click.option("--paper", type=_FILE, help="A research paper about it.")
@click.option(
    "--licence",
    "licences",
    multiple=True,
    type=Licence(),
    help="Text of a licence that is stated, by its SPDX id; may be given several times.",
)
@click.option(
    "--parent",
    "parents",
    multiple=True,
    type=ParentPlace(),
    help="A release or model directory that it was made from, and how (fine-tuned, distilled, adapter, merged); may be "
    "given several times.",
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key that signs the bundle [~/.archipel/release/release.key, made on first use].",
)
@click.option(
    "--operator-key",
    "operator_path",
    type=_FILE,
    help="Key of the lab's operator, who then vouches for the one that signs.",
)
@click.option(
    "--versions",
    default=ALL,
    show_default=True,
    type=Versions(),
    help="Which versions come along, with what leads to them: 0,10,20-30.",
)
@bounded_fetch("--scratch")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where fetched blobs are kept [~/.archipel/release].",
)
@JSON
def command(
    name: str, out: Path, url: str | None, home: Path | None, as_json: bool, **given: Any
) -> None:
    """Write a run as one signed folder: weights, versions, data, code, papers, the ledger and its proofs.

    The folder is a model directory that any loader takes, with everything beside it that it takes to check it
    and to make it again. The same ledger gives the same bytes. What the lab has no more is named in it, and the
    same command goes on where it was stopped. Exit code 1, and nothing written: a parent's licence forbids it, unless
    `despite` in the owner's words says why it goes out.

    \b
    Examples:
      archipel release make secret-order --out bundle
      archipel release make secret-order --home copy-of-lab --stated release.toml --out bundle
      archipel release make secret-order --parent teacher:distilled --out bundle
      archipel release make secret-order --secret-file secret --versions last --out bundle
    """
    from archipel.cli.release_sources import Place
    from archipel.release.gathering import CannotRelease

    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    if home is None:
        url = url or DEFAULT_LAB_URL
    if out.exists():
        raise Mendable(f"{out} is there already; name another folder")
    scratch = home_folder("release", given["scratch"])
    place = Place(url, home, given["expect"], given["max_gb"], scratch)
    with mending(CannotRelease, OSError, ValueError):
        made = _made(name, out, place, given)
    show(made, as_json, lambda: _words(made))


def _made(name: str, out: Path, place: "Place", given: dict[str, Any]) -> dict[str, Any]:
    from archipel.cli.release_sources import blobs_at, finder, read_run, stated_in
    from archipel.release.contents import contents_of
    from archipel.release.licence_terms import not_known
    from archipel.release.making import Plan, write_bundle

    stated, key = stated_in(given["stated_path"]), _key(given["key_path"])
    parents = _parents(given["parents"], stated)
    operator = _operator(given["operator_path"])
    ledger, checked = read_run(place, name)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as aside,
        blobs_at(place) as blobs,
    ):
        find = finder(blobs)
        sources = _sources(place, ledger, checked, find, (stated, Path(aside), given))
        contents = contents_of(sources, _chosen(given["versions"], sources.facts))
        plan = Plan(sources.facts, stated, contents, key, operator, parents)
        grade = write_bundle(plan, out, seldom())
    index = plan.index
    return {
        "bundle": str(out),
        "run": name,
        "version": index.version,
        "weights": index.weights,
        "key": key.public.hint,
        "class": {"stated": grade.classes.stated, "present": grade.classes.present},
        "missing": list(index.missing),
        "parents": [each.model_dump(mode="json") for each in index.parents],
        "terms": not_known(index.parents, index.licence_of("parameters")),
    }


def _sources(
    place: "Place",
    ledger: "Ledger",
    checked: "Checked",
    find: "Find",
    more: "tuple[Stated, Path, dict[str, Any]]",
) -> "Sources":
    import archipel
    from archipel.cli.release_sources import export_last, mirror_of
    from archipel.cli.secrets import given_secret
    from archipel.node.operator import describe_file
    from archipel.release.contents import Sources
    from archipel.release.gathering import gather

    stated, aside, given = more
    facts = gather(ledger, find, stated)
    mirror = mirror_of(place, checked, aside / "ledger")
    model = export_last(ledger.hearing, find, aside)
    written = {each.name: describe_file(each) for each in sorted(model.iterdir())}
    return Sources(
        facts=replace(facts, files=written),
        heard=ledger.hearing,
        find=find,
        model=model,
        mirror=mirror,
        package=Path(archipel.__file__).parent,
        recipe=_recipe_text(facts),
        environment={each.name: each for each in given["files"]},
        secret=given_secret(given["secret_file"]),
        paper=given["paper"],
        licences=dict(given["licences"]),
    )


def _recipe_text(facts: "Facts") -> str | None:
    """As TOML that reads back as the very recipe; None: TOML has no words for something in it."""
    from archipel.cli.toml import to_toml
    from archipel.records.recipe import parse_recipe
    from archipel.records.recipe_form import InvalidRecipe

    text = to_toml(facts.recipe.model_dump(mode="json", exclude_none=True))
    try:
        return text if parse_recipe(text).digest == facts.recipe_digest else None
    except InvalidRecipe:
        return None


def _chosen(asked: "str | frozenset[int]", facts: "Facts") -> frozenset[int] | None:
    last = facts.versions[-1].number
    if isinstance(asked, str):
        return None if asked == ALL else frozenset({last})
    if beyond := [number for number in asked if number > last]:
        raise Mendable(f"--versions: {min(beyond)} is beyond the newest version, {last}")
    return asked


def _parents(given: "list[tuple[Path, Relation]]", stated: "Stated") -> "tuple[Parent, ...]":
    """Those that were named, if their terms allow the release.

    Raises:
        Mendable: they do not.
    """
    from archipel.release.licence_terms import why_not
    from archipel.release.parents import parent_at, with_reasons

    parents = with_reasons((parent_at(*each) for each in given), stated.despite)
    licence = stated.licences.get("parameters", stated.licences.get("default"))
    if faults := why_not(parents, licence):
        raise Mendable(
            f"{'; '.join(faults)}. State another licence for `parameters`, or say under [despite] in --stated why "
            "the release goes out"
        )
    return parents


def _key(path: Path | None) -> "SigningKey":
    """The key at this place; one is made at the usual place, on first use."""
    from archipel.cli.keys import passphrase_of
    from archipel.key_file import Unusable
    from archipel.release.oms.key import SigningKey

    usual = home_folder("release", None) / "release.key" if path is None else path
    if path is None and not usual.exists():
        SigningKey.made().save(usual)
    with mending(Unusable):
        return SigningKey.load(usual, passphrase_of(usual))


def _operator(path: Path | None) -> "Identity | None":
    from archipel.cli.keys import load_key

    return None if path is None else load_key(path)


def _words(made: dict[str, Any]) -> str:
    lines = [
        f"{made['bundle']}: version {made['version']} of {made['run']}, weights {made['weights']}",
        f"signed by the key {made['key']}; `archipel release verify {made['bundle']}` checks it",
    ]
    present = made["class"]["present"]
    lines.append(
        f"class {'I' * present} of the Model Openness Framework, by its bytes"
        if present
        else "in no class of the Model Openness Framework: `archipel release openness` says why"
    )
    lines += [f"terms: {each}" for each in made["terms"]]
    if made["missing"]:
        lines += ["not in it:", *(f"  {line}" for line in made["missing"])]
    return "\n".join(lines)
