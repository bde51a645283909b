"""What rewards need done before they can be given: programs run apart, a judge asked.

Law: programs run in a grading process that holds no task, no answer and no secret; the judge's key stays in this one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.judgement import Ask
from archipel.training.grading_pipe import GraderUnavailable
from archipel.training.judge import Judge

CACHE = "judged.sqlite"

Run = Callable[[Sequence[Ask]], Sequence[str]]
"""What each program printed."""
Replies = dict[int, tuple[str, ...] | None]


class Elsewhere:
    """Where programs are run, and a judge, who is called when first needed."""

    def __init__(
        self, section: EnvironmentSection, secret: bytes | None, folder: Path | None, run: Run
    ) -> None:
        """run: runs programs. secret: the judge's key. folder: where its answers are kept; None keeps them as long as this lives."""
        self._section, self._secret, self._folder, self._run = section, secret, folder, run
        self._judge: Judge | None = None

    def replies(self, asked: Mapping[int, tuple[Ask, ...]], limit_s: float) -> Replies:
        """By number, the replies in the order of what was asked; None where one of them is refused.

        Raises:
            GraderUnavailable: no judge, or it is away; or programs cannot be confined here.
        """
        ends_s = time.monotonic() + limit_s
        flat = [
            (number, place, ask) for number, asks in asked.items() for place, ask in enumerate(asks)
        ]
        said: dict[tuple[int, int], str | None] = {}
        programs = [each for each in flat if each[2].kind == "program"]
        questions = [each for each in flat if each[2].kind == "judge"]
        if programs:
            outputs = self._run([ask for *_, ask in programs])
            said.update({each[:2]: output for each, output in zip(programs, outputs, strict=True)})
        if questions:
            judge, left_s = self._judging(), max(0.0, ends_s - time.monotonic())
            answers = judge.answers([ask.text for *_, ask in questions], left_s)
            said.update({each[:2]: answer for each, answer in zip(questions, answers, strict=True)})
        found: Replies = {}
        for number, asks in asked.items():
            each = [said[number, place] for place in range(len(asks))]
            found[number] = (
                None if None in each else tuple(text for text in each if text is not None)
            )
        return found

    def close(self) -> None:
        """End what was started."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def _judging(self) -> Judge:
        if self._judge is None:
            url = str(self._section.parameters.get("judge_url", ""))
            if not url.startswith(("http://", "https://")):
                raise GraderUnavailable(
                    f"these rewards ask a judge, and environment.parameters.judge_url is {url!r:.80}; "
                    "expected the http address of an OpenAI interface, such as http://127.0.0.1:8000/v1"
                )
            key = None if self._secret is None else self._secret.decode("utf-8", "replace").strip()
            model = str(self._section.parameters.get("judge_model", ""))
            cache = None if self._folder is None else self._folder / CACHE
            self._judge = Judge(url, model, key, cache)
        return self._judge
