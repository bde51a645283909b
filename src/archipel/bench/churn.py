"""Pretraining whose members die, come and go, and become slow, beside the same run left alone.

A real lab, trusted role and member processes on 127.0.0.1 for each arm. Disturbances are drawn from the seed in units of
the undisturbed run's outer step. Once an arm has ended its merges are made again from the lab's folder by
`archipel run replay`, as anybody could.
What it does not show: a tiny model over loopback; starting a process takes as long as several of its outer steps, in which
a large model's would hardly be noticed; all members share this machine, so that one's absence makes the others faster.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel import source_environment
from archipel.bench.churn_members import Crew, crew_of
from archipel.bench.churn_outcome import Outcome, outcome_of
from archipel.bench.churn_plan import Plan, recipe_of
from archipel.bench.churn_schedule import Event, events, most_away
from archipel.bench.diloco_text import own_text
from archipel.bench.site import PROGRAM, Site, SiteFailed
from archipel.node.opening import Brought, Text
from archipel.node.operator import model_files
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.corpus.making import Order, make_corpus
from archipel.training.corpus.sources import Rules
from archipel.work.opening import begin_model, corpus_files, payload_bytes, shortcomings

Tell = Callable[[str], None]
TRUSTED = "update"
PASSED_OVER = "passed over"
LOOK_S = 0.25
"""Between looks at the lab, each of which costs it some milliseconds of processor."""
REPLAY_LIMIT_S = 480.0


@dataclass(frozen=True)
class Replayed:
    """What making all merges again came to."""

    versions: int
    unequal: int
    """Stages that came out otherwise than they were published."""
    faults: tuple[str, ...]
    """What a lab should have refused."""

    @property
    def is_equal(self) -> bool:
        """Every version in every bit, and by the run's own rules."""
        return not self.unequal and not self.faults


@dataclass(frozen=True)
class Arm:
    """One run."""

    arm: str
    seed: int
    unit_s: float | None
    """Of an outer step by which disturbances were timed; None: there were none."""
    happened: dict[str, int]
    """What befell members -> how often."""
    outcome: Outcome
    replayed: Replayed


class Disturbing:
    """Does what comes, in time.

    Law: a member that is still starting is left alone, and so are all while half of them are away; what comes then is
    passed over, and counted.
    """

    def __init__(self, crew: Crew, seed: int, plan: Plan, unit_s: float, tell: Tell) -> None:
        self._crew, self._unit_s, self._tell = crew, unit_s, tell
        self._coming, self._places = events(seed, plan.members, plan.rates), plan.members
        self._next = next(self._coming)
        self._open: list[Event] = []
        self.happened: Counter[str] = Counter()

    def until(self, now_s: float) -> None:
        """Do what was to begin or end by now, seconds after version 0."""
        now = now_s / self._unit_s
        while True:
            ending = min(self._open, key=lambda each: each.ends, default=None)
            if ending is not None and ending.ends <= min(now, self._next.begins):
                self._open.remove(ending)
                self._tell(self._crew.end(ending))
            elif self._next.begins <= now:
                self._begin(self._next)
                self._next = next(self._coming)
            else:
                return

    def _begin(self, event: Event) -> None:
        starting = self._crew.starting()
        away = starting | {each.place for each in self._open}
        if event.place in starting or len(away) >= most_away(self._places):
            self.happened[PASSED_OVER] += 1
            return
        self._tell(self._crew.begin(event))
        self.happened[event.what.value] += 1
        self._open.append(event)


def make_text(text: Path | None, folder: Path, environment: Mapping[str, str]) -> Path:
    """Make the corpus of `text`, or of this package's own source, in a folder; returns its place.

    Raises:
        BadCorpus: no corpus can be made of it. OSError: it cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    license_ = "LicenseRef-unstated"
    if text is None:
        license_, text = "Apache-2.0", folder / "source.txt"
        text.write_bytes(own_text().data)
    order = Order(
        sources=(text,),
        tokenizer="bytes",
        out=folder / "corpus",
        license=license_,
        source="text of a measurement",
        rules=Rules("blank-lines", "text"),
        held_out_millionths=50_000,
    )
    make_corpus(order, lambda told: None, environment)
    return order.out


def measure(
    plan: Plan, text: Path | None, folder: Path, environment: Mapping[str, str], tell: Tell
) -> Iterator[Arm]:
    """Every arm of every seed, one after the other; what they leave behind is in `folder`.

    Raises:
        SiteFailed: a process ended that nobody ended, or something did not come in time. BadCorpus, OSError: from the text.
        ValueError: there is too little text.
    """
    corpus = make_text(text, folder, environment)
    for seed in plan.seeds:
        unit_s: float | None = None
        for arm in plan.arms:
            at = folder / f"seed-{seed}" / arm
            if at.exists():
                raise ValueError(f"{at} is there from an earlier measurement; name another folder")
            told = _Told(f"seed {seed} {arm}", tell)
            found = _run(plan, (arm, seed, unit_s), (corpus, at), environment, told)
            unit_s = found.outcome.step_s if unit_s is None else unit_s
            yield found


class _Told:
    """Lines of one arm."""

    def __init__(self, arm: str, tell: Tell) -> None:
        self._arm, self._tell = arm, tell

    def __call__(self, text: str) -> None:
        self._tell(f"{self._arm}: {text}")


def _run(
    plan: Plan,
    arm: tuple[str, int, float | None],
    places: tuple[Path, Path],
    environment: Mapping[str, str],
    tell: Tell,
) -> Arm:
    """arm: (name, seed, unit of disturbances); places: (corpus, where the run lives)."""
    name, seed, unit_s = arm
    recipe, ends_s = recipe_of(plan, name, seed, places[0]), time.monotonic() + 60 * plan.minutes
    with (
        Site(places[1] / "site", environment) as site,
        crew_of(site, plan.members, plan.share) as crew,
    ):
        tell("lab, trusted role and members start")
        _open(site, crew, plan, recipe, ends_s)
        tell("the run is open")
        _wait(site, ends_s, "version 0", lambda: _version(site, recipe) >= 0)
        disturbing = None
        if unit_s is not None:
            disturbing = Disturbing(crew, seed, plan, unit_s, tell)
        _watch(site, recipe, ends_s, disturbing, tell)
        crew.close()
        watched = crew.watched()
        num = len({*range(0, plan.versions, recipe.evaluation.every), 0, plan.versions})
        _wait(site, ends_s, "evaluations", lambda: _num_evaluated(site, recipe) >= num)
        outcome = outcome_of(site.history(), watched)
    tell("its merges are made again")
    replayed = replay(recipe.run.name, site.home("lab"), places[1] / "again", environment)
    happened = dict(disturbing.happened) if disturbing else {}
    return Arm(name, seed, unit_s, happened, outcome, replayed)


def _open(site: Site, crew: Crew, plan: Plan, recipe: PretrainRecipe, ends_s: float) -> None:
    """Lab, trusted role and all members, then the run.

    Raises:
        ValueError: the run could not work, for want of text, say.
    """
    weights = site.folder / "start"
    begin_model(recipe, weights)
    if found := shortcomings(recipe, weights, lambda told: None):
        raise ValueError("this run would not work: " + "; ".join(found))
    site.start_lab(limit_s=ends_s - time.monotonic())
    site.start_update(TRUSTED)
    crew.start()
    _wait(site, ends_s, "everybody to be there", lambda: len(site.nodes()) == 1 + plan.members)
    files = corpus_files(recipe)
    text = Text(tuple(files), tuple(files.values()), payload_bytes(recipe, weights))
    site.open_run(recipe, weights, [TRUSTED], Brought(model_files(weights), text))


def _watch(
    site: Site,
    recipe: PretrainRecipe,
    ends_s: float,
    disturbing: Disturbing | None,
    tell: Tell,
) -> None:
    """Until the last version is there, disturbing what is to be disturbed."""
    began_s, newest = time.monotonic(), 0

    def is_over() -> bool:
        nonlocal newest
        version = _version(site, recipe)
        if version > newest:
            newest = version
            tell(f"version {version} of {recipe.run.versions}")
        if version >= recipe.run.versions:
            return True
        if disturbing is not None:
            disturbing.until(time.monotonic() - began_s)
        return False

    _wait(site, ends_s, f"version {recipe.run.versions}", is_over)


def _wait(site: Site, ends_s: float, what: str, condition: Callable[[], bool]) -> None:
    """Raises SiteFailed: it is not so at the arm's end, or a process died meanwhile."""
    while not condition():
        site.check_alive()
        if time.monotonic() > ends_s:
            raise SiteFailed(
                f"the time of this arm is over, and it still waits for {what}: give it more (--minutes); logs are in "
                f"{site.folder}"
            )
        time.sleep(LOOK_S)


def _version(site: Site, recipe: PretrainRecipe) -> int:
    run = site.run(recipe.run.name)
    return -1 if run is None else run.version


def _num_evaluated(site: Site, recipe: PretrainRecipe) -> int:
    run = site.run(recipe.run.name)
    return 0 if run is None else len(run.evaluations)


def replay(name: str, lab: Path, scratch: Path, environment: Mapping[str, str]) -> Replayed:
    """Make every version of a run again, by the command that anybody would use on a copy of the lab's folder.

    Raises:
        SiteFailed: it did not end in time, or not with an answer.
    """
    words = ["run", "replay", name, "--all", "--home", str(lab), "--scratch", str(scratch)]
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(  # noqa: S603  our own program, no shell
            [sys.executable, *PROGRAM, *words, "--json"],
            env={**source_environment(), **environment},
            capture_output=True,
            text=True,
            timeout=REPLAY_LIMIT_S,
            check=False,
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise SiteFailed(
            f"making the merges of {name} again took longer than {REPLAY_LIMIT_S:.0f} s"
        ) from None
    except json.JSONDecodeError:
        raise SiteFailed(f"making the merges of {name} again: {done.stderr[-800:]}") from None
    stages = [stage for version in told["versions"] for stage in version["stages"]]
    return Replayed(
        versions=len(told["versions"]),
        unequal=sum(not stage["equal"] for stage in stages),
        faults=tuple(told["faults"]),
    )
