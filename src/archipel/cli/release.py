"""`archipel release`: a run's model and all that it takes to check it, rebuild it and own it, as one folder."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "openness": ("release_openness", "How open a model is, computed from the bytes of its folder"),
}

command = Lazy(
    name="release",
    commands_in=COMMANDS,
    help="Releases that a stranger can check (docs/how-to/release-and-verify.md).\n\n"
    "\b\nExamples:\n  archipel release openness bundle\n  archipel release openness bundle --json",
)
