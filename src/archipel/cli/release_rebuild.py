"""`archipel release rebuild`: a release made again, stage by stage, from what it brings."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, home_folder, mending, printable, show
from archipel.cli.lab_door import EXPECT, JSON, THREADS
from archipel.cli.names import recipe_names
from archipel.cli.telling import Tell, seldom

if TYPE_CHECKING:
    from archipel.cli.rebuilding import Rebuild, Subject
    from archipel.lab.run_story import RunStory
    from archipel.release.stages import Stage
    from archipel.release.verify.report import Looked


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--stage",
    default="all",
    show_default=True,
    metavar="N|NAME|all",
    help="A number, `update-7`, `evaluation-10`, or a kind: supervised, updates, rollouts, evaluations.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for what was made again, as `release openness --rebuilt` reads it [DIR.rebuilt.json].",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The verifier's secret, if the release does not bring it.",
)
@click.option(
    "--recipe",
    "recipe_name",
    shell_complete=recipe_names,
    help="The recipe as you know it, if its environment reads files or loads packages of this machine.",
)
@EXPECT
@THREADS
@click.option("--fresh", is_flag=True, help="Forget what earlier calls made again.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where finished stages and the learner are kept [~/.archipel/rebuild].",
)
@JSON
def command(folder: Path, stage: str, as_json: bool, **given: Any) -> None:
    """Make a release again from its recorded inputs, and compare digests: supervised stage, updates, rollouts, evaluations.

    Rollouts and evaluations by the exact contract come out bit for bit on any machine; updates and the supervised
    stage do on the same class of machine, and elsewhere within a tolerance that is said. The release is verified
    first. Finished stages are kept: after Ctrl-C the same command goes on. Exit code 1: something came out otherwise.

    \b
    Examples:
      archipel release rebuild bundle
      archipel release rebuild bundle --stage update-7
      archipel release rebuild bundle --stage rollouts --json
      archipel release openness bundle --rebuilt bundle.rebuilt.json
    """
    out = given["out"] or folder.resolve().with_name(f"{folder.resolve().name}.rebuilt.json")
    if out.resolve().is_relative_to(folder.resolve()):
        raise click.UsageError(
            "--out lies in the release, which it would change; name a place beside it"
        )
    tell = seldom()
    with mending(OSError):
        rebuild = _begun(folder, stage, given, tell)
        _run(rebuild, tell)
        _write_report(rebuild, out)
    from archipel.cli.rebuilt_words import facts, lines

    show(facts(rebuild, out), as_json, lambda: printable("\n".join(lines(rebuild, out))))
    if rebuild.stopped:
        raise click.Abort
    wrong = [each for each in rebuild.asked if _came(rebuild, each) == "differs"]
    if wrong:
        raise Mendable(
            f"{len(wrong)} of {len(rebuild.asked)} stages came out otherwise, first {wrong[0].name}"
        )


def _came(rebuild: "Rebuild", stage: "Stage") -> str:
    outcome = rebuild.came.get(stage.name)
    return "" if outcome is None else outcome.came


def _begun(folder: Path, stage: str, given: dict[str, Any], tell: Tell) -> "Rebuild":
    """The release verified, and what earlier calls made again of it."""
    import torch

    from archipel.cli.rebuilding import Rebuild
    from archipel.cli.rebuilt_so_far import folder_of, read_outcomes
    from archipel.records.canonical import sha256_digest
    from archipel.release.places import INDEX
    from archipel.release.stages import NoSuchStage, chosen, stages_of
    from archipel.serve.origin import machine

    looked = _verified(folder, given["expect"], tell)
    heard = looked.heard
    if heard is None or heard.story.opened is None or not heard.story.updates:
        raise Mendable(f"{folder} holds no run with a version")
    stages = stages_of(heard.story)
    with mending(NoSuchStage):
        asked = chosen(stages, stage)
    torch.set_num_threads(given["threads"])
    release, here = sha256_digest((folder / INDEX).read_bytes()), machine("cpu")
    secret = _secret(folder, given["secret_file"])
    root = home_folder("rebuild", given["scratch"])
    mine = _own_source()
    lasting = folder_of(root, release, secret, sha256_digest(mine), (here, given["threads"]))
    if given["fresh"]:
        shutil.rmtree(lasting, ignore_errors=True)
    lasting.mkdir(parents=True, exist_ok=True, mode=0o700)
    subject = _subject(folder, heard.story, secret, given, (lasting, here))
    return Rebuild(
        subject, release, stages, asked, read_outcomes(lasting), _is_its_code(folder, mine)
    )


def _verified(folder: Path, expect: str | None, tell: Tell) -> "Looked":
    """Looked through, and found to hold as far as what is made again does not look itself.

    Raises:
        Mendable: it does not.
    """
    from archipel.release.verify.files import NoBundle
    from archipel.release.verify.looking import LOOKS, looked_through
    from archipel.release.verify.report import Expected
    from archipel.release.verify.weights import look_at_chain

    if folder.is_symlink() or not folder.is_dir():
        raise Mendable(f"{folder} is no folder; name the one that `archipel release make` wrote")
    with mending(NoBundle):
        # Every delta is applied where updates and rollouts are made again, by the tensor library.
        looks = [each for each in LOOKS if each is not look_at_chain]
        looked = looked_through(folder, Expected(expect), tell, looks)
    faults = [fault for step in looked.steps for fault in step.faults]
    if faults:
        raise Mendable(
            f"{folder} does not hold, so that there is nothing to make again: {printable(faults[0])}; "
            "`archipel release verify` says all of it"
        )
    return looked


def _secret(folder: Path, given: Path | None) -> bytes | None:
    """What was given, or what the release gives away."""
    from archipel.cli.secrets import given_secret
    from archipel.release.places import GIVEN_AWAY

    inside = folder / GIVEN_AWAY
    if given is not None or not inside.is_file():
        return given_secret(given)
    return inside.read_bytes()


def _subject(
    folder: Path,
    story: "RunStory",
    secret: bytes | None,
    given: dict[str, Any],
    at: tuple[Path, str],
) -> "Subject":
    from archipel.cli.rebuilding import Subject
    from archipel.cli.recipes import find_any_recipe
    from archipel.cli.run_blobs import ReleaseBlobs

    name, (scratch, here) = given["recipe_name"], at
    known = () if name is None else tuple(each.digest for each in find_any_recipe(name).openings)
    blobs, threads = ReleaseBlobs(folder), given["threads"]
    return Subject(story, blobs, secret, known, scratch, threads, here)


def _own_source() -> bytes:
    """Of what runs here, as a release brings it."""
    import archipel
    from archipel.release import code

    return code.source_archive(Path(archipel.__file__).parent, code.beside_package())


def _is_its_code(folder: Path, mine: bytes) -> bool:
    """Whether this software is, byte for byte, the source that the release brings."""
    from archipel.release import code
    from archipel.release.places import CODE

    path = folder / CODE / code.archive_name()
    return path.is_file() and path.stat().st_size == len(mine) and path.read_bytes() == mine


def _run(rebuild: "Rebuild", tell: Tell) -> None:
    """What was not made again before; every stage is kept as it ends."""
    from archipel.cli.rebuilding import Rebuilding
    from archipel.cli.rebuilding_stages import rebuild as stages_again
    from archipel.cli.rebuilt_so_far import keep_outcomes

    left = [each for each in rebuild.asked if each.name not in rebuild.came]
    try:
        for outcome in stages_again(Rebuilding(rebuild.subject, tell), left):
            rebuild.came[outcome.stage] = outcome
            keep_outcomes(rebuild.subject.scratch, rebuild.came)
            tell(f"{outcome.stage}: {outcome.came}")
    except KeyboardInterrupt:
        rebuild.stopped = True


def _write_report(rebuild: "Rebuild", out: Path) -> None:
    from archipel.release.openness.rebuilt import Rebuilt
    from archipel.release.stages import kinds_rebuilt

    kinds = kinds_rebuilt(rebuild.stages, rebuild.came, by_its_code=rebuild.by_its_code)
    aside = out.with_name(f".{out.name}.partial")
    aside.write_bytes(Rebuilt(release=rebuild.release, kinds=kinds).to_bytes())
    aside.replace(out)
