"""`archipel train remote`: an adapter trained at a door, from a file of examples to a folder that serves."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.lab_door import JSON
from archipel.cli.stopping import asked_to_stop
from archipel.cli.telling import telling
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.door.client.course import Course
    from archipel.door.client.examples import Example
    from archipel.door.client.learning import Learned, Progress, Pupil
    from archipel.door.client.line import Line
    from archipel.door.client.said import ModelRow

ADDRESSES = ("ARCHIPEL_DOOR", "TINKER_BASE_URL")
KEYS = ("ARCHIPEL_DOOR_KEY", "TINKER_API_KEY")
USUAL_EPOCHS = 3.0
INTERRUPTED = 130


@click.command("remote")
@click.argument("data", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the adapter to write, in PEFT's layout.",
)
@click.option(
    "--door", "url", metavar="URL", help="The door that trains [ARCHIPEL_DOOR, or TINKER_BASE_URL]."
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Where the API key for it stands, mode 0600 [ARCHIPEL_DOOR_KEY, or TINKER_API_KEY].",
)
@click.option("--model", "base", metavar="NAME", help="Which of the door's models [its first].")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Model directory whose tokenizer and chat template are used [a folder of the model's name].",
)
@click.option(
    "--rank", default=8, show_default=True, type=click.IntRange(1, 256), help="Of the adapter."
)
@click.option("--steps", type=click.IntRange(1, 1_000_000), help="How many [as --epochs says].")
@click.option(
    "--epochs",
    type=click.FloatRange(0, 10_000, min_open=True),
    help=f"How often each example is seen, where --steps is not given [{USUAL_EPOCHS:g}].",
)
@click.option(
    "--batch",
    default=8,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Examples of a step.",
)
@click.option(
    "--learning-rate",
    "rate",
    default=1e-3,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Of all but the last fifth of the steps, where it goes down.",
)
@click.option(
    "--held-out",
    "num_held",
    type=click.IntRange(0),
    help="Examples that are not learned, and scored before and after [a tenth].",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Of the first weights and the order of examples: the same gives the same adapter.",
)
@JSON
def command(
    data: Path,
    out: Path,
    url: str | None,
    key_file: Path | None,
    base: str | None,
    tokenizer: Path | None,
    rank: int,
    steps: int | None,
    epochs: float | None,
    batch: int,
    rate: float,
    num_held: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train an adapter on DATA at a door, and bring it here.

    DATA has a JSON object a line: {"messages": [...]}, of which the assistant's turns are learned, {"prompt": ..,
    "completion": ..}, or {"text": ..}. Only token ids leave this machine. After Ctrl-C, or whatever cut it, the same
    command goes on: OUT.partial says where it stands, the weights are kept at the door for two weeks.

    \b
    Examples:
      archipel train remote examples.jsonl --out mine
      archipel train remote examples.jsonl --out mine --door http://door.example:8460 --key-file door.key
      archipel train remote examples.jsonl --out mine --rank 16 --steps 200 --learning-rate 5e-4 --json
    """
    from archipel.door.client.course import Course, steps_of

    if steps is not None and epochs is not None:
        raise click.UsageError("give --steps or --epochs, not both")
    with _line(url, key_file) as line:
        with _mending():
            row = _base(line, base)
            examples = _examples(data, _folder(tokenizer, row.model_name), row.max_context_length)
        learned, held = _parted(examples, num_held, seed)
        steps = steps or steps_of(epochs or USUAL_EPOCHS, len(learned), batch)
        course = Course(steps, batch, rate, rank, seed)
        _train(_pupil(line, row, course, (learned, held), out), as_json)


def _train(pupil: "Pupil", as_json: bool) -> None:
    from archipel.door.client.kept import digest_of, read_standing
    from archipel.door.client.learning import learn
    from archipel.model.new_directory import require_free

    began, course = time.monotonic(), pupil.course
    with _mending(), asked_to_stop() as is_stopping:
        require_free(pupil.out)
        digest = digest_of(pupil.base, course, pupil.learned, pupil.held)
        standing = read_standing(pupil.saved, digest)
        if standing.checkpoint is not None:
            click.echo(f"goes on from step {standing.step} of {course.steps}", err=True)
        on_step: Callable[[Progress], None] = _silent if as_json else telling(_line_of)
        done = learn(pupil, standing, on_step, is_stopping)
    if not done.is_whole:
        click.echo(
            f"stopped after step {done.standing.step} of {course.steps}; the same command goes on",
            err=True,
        )
        raise SystemExit(INTERRUPTED)
    shutil.rmtree(pupil.saved, ignore_errors=True)
    facts = _facts(pupil, done) | {"seconds": time.monotonic() - began}
    show(facts, as_json, lambda: _words(facts))


def _silent(progress: object) -> None:
    """For machines."""


def _line_of(now: "Progress") -> str:
    left = f"{now.left_s / 60:.0f} min left" if now.left_s >= 90 else f"{now.left_s:.0f} s left"
    return f"step {now.step} of {now.steps}  loss {now.loss:.4f}  {now.tokens_per_s:.0f} tokens/s  {left}"


def _facts(pupil: "Pupil", done: "Learned") -> dict[str, Any]:
    return {
        "adapter": str(pupil.out),
        "published": done.published,
        "base_model": pupil.base,
        "steps": done.standing.step,
        "examples": len(pupil.learned),
        "held_out": len(pupil.held),
        "loss": done.loss,
        "held_out_loss_before": done.standing.loss_before,
        "held_out_loss_after": done.loss_after,
        "tokens": done.standing.num_tokens,
    }


def _words(facts: dict[str, Any]) -> str:
    held = ""
    if facts["held_out_loss_after"] is not None:
        before, after = facts["held_out_loss_before"], facts["held_out_loss_after"]
        held = f"\nheld out: {before:.4f} nats a token before, {after:.4f} after"
    return (
        f"\n{facts['adapter']}: an adapter of {facts['base_model']}, {counted(facts['steps'], 'step')} "
        f"over {counted(facts['examples'], 'example')} in {facts['seconds']:.0f} s{held}\n"
        f"at the door: {facts['published']}"
    )


@contextlib.contextmanager
def _line(url: str | None, key_file: Path | None) -> Iterator["Line"]:
    """To the door that was named, with the key that was given."""
    from importlib.util import find_spec

    from archipel.extras import needs
    from archipel.serve.access import InvalidKeys, keys_of

    if find_spec("google") is None or find_spec("google.protobuf") is None:
        raise Mendable(needs("training at a door", "door"))
    from archipel.door.client.line import DoorLost, Line

    address = url or _of_environment(ADDRESSES)
    if address is None:
        raise Mendable(f"no door is named; give --door, or set {' or '.join(ADDRESSES)}")
    with mending(InvalidKeys, OSError):
        key = _of_environment(KEYS) if key_file is None else keys_of(key_file)[0]
    if key is None:
        raise Mendable(f"no API key; give --key-file, or set {' or '.join(KEYS)}")
    with mending(DoorLost):
        line = Line(address, key)
    with contextlib.closing(line):
        yield line


def _of_environment(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _base(line: "Line", name: str | None) -> "ModelRow":
    from archipel.door.client.remote import offered

    rows = offered(line)
    names = [each.model_name for each in rows]
    if name is not None and name not in names:
        raise Mendable(f"the door has no model {name!r:.80}; it has {', '.join(names)!s:.300}")
    return rows[0 if name is None else names.index(name)]


def _folder(given: Path | None, name: str) -> Path:
    folder = Path(name) if given is None else given
    if not (folder / "tokenizer.json").is_file():
        raise Mendable(
            f"no tokenizer in {str(folder)!r:.200}; give --tokenizer FOLDER, a directory of the model {name!r:.80}"
        )
    return folder


def _examples(data: Path, folder: Path, max_context: int) -> tuple["Example", ...]:
    from archipel.door.client.examples import BadExamples, read_examples
    from archipel.model.tokenizer import InvalidTokenizer, Tokenizer

    with mending(BadExamples, InvalidTokenizer, OSError):
        return read_examples(data, Tokenizer.from_directory(folder), max_context)


def _parted(
    examples: tuple["Example", ...], num_held: int | None, seed: int
) -> tuple[tuple["Example", ...], tuple["Example", ...]]:
    from archipel.door.client.course import held_out

    how_many = len(examples) // 10 if num_held is None else num_held
    if how_many >= len(examples):
        raise Mendable(
            f"--held-out {how_many} of {counted(len(examples), 'example')} leaves nothing to learn"
        )
    places = held_out(len(examples), how_many, seed)
    learned = tuple(each for place, each in enumerate(examples) if place not in places)
    return learned, tuple(examples[place] for place in sorted(places))


def _pupil(
    line: "Line",
    row: "ModelRow",
    course: "Course",
    examples: tuple[tuple["Example", ...], tuple["Example", ...]],
    out: Path,
) -> "Pupil":
    from archipel.door.client.learning import Pupil

    saved = out.with_name(out.name + ".partial")
    return Pupil(line, row.model_name, course, *examples, out, saved)


@contextlib.contextmanager
def _mending() -> Iterator[None]:
    """What doors, networks and files do, as one sentence."""
    from archipel.door.client.kept import AnothersCourse
    from archipel.door.client.line import DoorLost, DoorRefused
    from archipel.door.client.said import BadAnswer

    with mending(DoorLost, DoorRefused, BadAnswer, AnothersCourse, OSError):
        yield
