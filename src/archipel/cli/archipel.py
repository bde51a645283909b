"""The `archipel` command: finds the command asked for and loads only that one's file.

Law: nothing heavy is imported before a command runs, so `archipel --help` answers at once; errors that
a person can mend end as one sentence and exit code 1, never as a traceback.
"""

import contextlib
import difflib
import gc
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from archipel.cli.helping import use_everywhere
from archipel.cli.lacking import ended_by, ended_starved, ended_unloaded, say
from archipel.cli.last_deadline import CLEARED_S, last_deadline

use_everywhere()
INTERRUPTED = 130
"""Exit code of what Ctrl-C cut off. What runs until Ctrl-C (node, update, lab, watch, chat) ends with 0."""
COMMANDS = {
    "demo": (
        "demo",
        "Train a tiny model with RL on five unequal machines, here, in about two minutes",
    ),
    "lab": ("lab", "Run a lab: the coordinator of one or more runs"),
    "labs": ("labs", "Which labs there are, by signed cards: runs, prices, openness, witnesses"),
    "dashboard": ("dashboard", "Serve the pages of a lab from a ledger that is checked here"),
    "node": ("node", "Offer this machine to a lab"),
    "operator": ("operator", "One key for many nodes: delegate, revoke, list"),
    "update": ("update", "Run the trusted role: update and evaluate"),
    "run": ("run", "Open, watch, explain, stop and export runs"),
    "recipe": ("recipe", "Shipped recipes, what a recipe may say, and what is wrong with yours"),
    "sft": ("sft", "Supervised stage: a model from nothing, or a better start"),
    "distil": ("distil", "A small model taught by a larger one: no labels, no rewards"),
    "corpus": ("corpus", "Text as token shards to pretrain on: make, show, verify"),
    "eval": ("evaluate", "Score a model directory on a recipe's held-out tasks"),
    "chat": ("chat", "Talk to a model directory"),
    "serve": ("serving", "A model behind the OpenAI, Ollama and Anthropic APIs, on this machine"),
    "door": (
        "door",
        "A training API that existing clients speak: open it, who may use it, how much",
    ),
    "train": ("train", "An adapter of your own, trained at a door on your examples"),
    "route": ("route", "Teach a router which of several specialists knows what"),
    "model": ("model", "Bring a model: from a GGUF file, a hub or a package registry"),
    "gguf": ("gguf", "A model directory as one file for llama.cpp"),
    "account": (
        "account",
        "What accounts hold and why; pay in, pay out, statements that prove themselves",
    ),
    "grants": (
        "grants",
        "A pool of credits that grants compute: fund, pledge, rule, give, request",
    ),
    "receipts": (
        "receipts",
        "What a served model earned: receipts checked, and entered for owners",
    ),
    "ownership": ("ownership", "Who owns a run, with proofs; giving shares on"),
    "vote": ("vote", "Owners of a run decide: propose, cast, delegate, count"),
    "market": ("market", "What rollouts of a run cost: bids, clearings, prices over time"),
    "audits": ("audits", "Which answers were audited, what was found, what followed"),
    "ledger": ("ledger", "Replay and verify a lab's ledger"),
    "release": ("release", "A run's model as a bundle that anybody can check, rebuild and own"),
    "trace": (
        "trace",
        "What shaped a release's weights; what of an answer stands in its training data",
    ),
    "proofs": ("proofs", "Thresholds for audits of floating-point results, measured"),
    "answer": ("answer", "Recompute what somebody signed that a model answered"),
    "exact": ("exact", "Recompute what the exact contract gave, to the bit"),
    "plan": ("plan", "What it costs, what it buys, when to stop: every number with its source"),
    "observe": ("observe", "The world's open models: who makes, downloads and tops them, how open"),
    "simulate": ("simulate", "A market of thousands of providers, by the lab's own code"),
    "bench": ("bench", "Measure: engine, sync, parity, staleness, overhead, peers, lab"),
    "completion": ("completion", "Print the shell completion script"),
}


class Lazy(click.Group):
    """A group whose commands live in files of their own, imported when they are called."""

    def __init__(self, *args: object, commands_in: dict[str, tuple[str, str]], **kwargs: object):
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own signature
        self._files = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: the order in which people need them."""
        return list(self._files)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's file."""
        if cmd_name not in self._files:
            return None
        module = importlib.import_module(f"archipel.cli.{self._files[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As always, and the nearest command's name when there is none of this one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self._files, n=1)
            if not near or args[0].startswith("-"):
                raise
            hint = f"{error.message} Did you mean {near[0]!r}?"
            raise click.UsageError(hint, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._files.items()])


@click.group(
    cls=Lazy, commands_in=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="archipel")
@click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the passphrase of a sealed key stands [asked on the terminal]: mode 0600, or /dev/fd/N.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="ARCHIPEL_CA",
    show_envvar=True,
    metavar="FILE",
    help="Believe labs at https:// whose certificate is vouched for by an authority in this file (PEM), too.",
)
def command(passphrase_file: Path | None, ca: Path | None) -> None:
    """Train, prove, own and run truly open language models on everyone's computers.

    \b
    Examples:
      archipel demo                              the whole story on this machine
      archipel lab start                         be a lab
      archipel node join http://lab:8440         offer a machine
      archipel run open secret-order --weights DIR
      archipel run watch
      archipel --ca lab-ca.pem node join https://lab.example:8440
    """
    if ca is not None:
        from archipel.cli.doors import mending
        from archipel.node.exchange import believe

        with mending(OSError):
            believe(ca)


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the program: Ctrl-C ends it at any moment without a traceback.

    arguments: for tests; None are those of this process.
    """
    if arguments is not None:
        _run(arguments)
        return
    from archipel.cli.doors import start_over_with_same_hashes

    start_over_with_same_hashes()
    sys.unraisablehook = _pass_on
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _run(None)
    except KeyboardInterrupt:  # before the command, or in the middle of its last words
        sys.exit(INTERRUPTED)
    except (MemoryError, SystemError) as error:  # likewise
        sys.exit(ended_starved(error))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is cleaning up
        gc.freeze()  # Python's last look for garbage among a tensor library's objects costs most of a second
        with contextlib.suppress(RuntimeError, MemoryError):  # no thread can be started any more
            last_deadline(CLEARED_S)()
        for again in _coming:
            again.cancel()
        _let_go()


def _let_go() -> None:
    """Python would complain at its end that nobody reads any more: a closed window, a full disk."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
        except AttributeError:  # there never was one
            continue


_coming: list[threading.Timer] = []
"""Ctrl-Cs that come once more."""


def _pass_on(lost: "sys.UnraisableHookArgs") -> None:
    """Python swallows what is raised in a finaliser; a Ctrl-C that comes there comes once more."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    _coming.append(again)
    again.start()


def _run(arguments: Sequence[str] | None) -> None:
    """The one place where errors become exit codes."""
    from archipel.cli.doors import Mendable, printable, thread_environment

    for name, value in thread_environment(1).items():
        os.environ.setdefault(name, value)  # read once by the tensor library, when it loads
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it advises where a home is read-only
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a sign gets another one
    try:
        code = command.main(args=arguments, prog_name="archipel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        sys.exit(INTERRUPTED)
    except Mendable as error:
        say(f"archipel: {printable(str(error))}")
        sys.exit(1)
    except (MemoryError, SystemError) as error:
        sys.exit(ended_starved(error))
    except (ImportError, RuntimeError) as error:
        sys.exit(ended_unloaded(error))
    except OSError as error:
        sys.exit(ended_by(error))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    run()
