"""`archipel release`: a run's model and all that it takes to check it, rebuild it and own it, as one folder."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "make": ("release_make", "A signed bundle of a run: weights, data, code, papers, ledger"),
    "verify": ("release_verify", "Check a bundle: no network, no tensor library, no belief"),
    "check-hub": ("release_check_hub", "Whether a folder can be put on a model hub as it is"),
    "withdraw": ("release_withdraw", "Say in the ledger that a contribution is no longer given"),
    "affected": ("release_affected", "What withdrawals and revoked keys affect downstream"),
    "mirror": ("release_mirror", "Copy a release from places that nobody believes"),
    "rebuild": ("release_rebuild", "Make a bundle again from what it brings, and compare"),
    "openness": ("release_openness", "How open a model is, computed from the bytes of its folder"),
    "key": ("release_key", "The key that signs releases: its public half, and how others name it"),
    "summary": (
        "release_summary",
        "What European law asks to be told of training content, filled in",
    ),
    "collect": ("release_collect", "Keep a run's blobs and ledger before its lab lets them go"),
}

command = Lazy(
    name="release",
    commands_in=COMMANDS,
    help="Releases that a stranger can check (docs/how-to/release-and-verify.md).\n\n"
    "\b\nExamples:\n  archipel release make secret-order --out bundle\n  archipel release verify bundle\n"
    "  archipel release openness bundle --json",
)
