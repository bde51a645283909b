"""`archipel proofs`: evidence about results that cannot be recomputed to the bit."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "calibrate": (
        "proofs_calibrate",
        "Measure honest and dishonest provers of a model, and set thresholds",
    ),
}

command = Lazy(
    name="proofs",
    commands_in=COMMANDS,
    help="Evidence about floating-point results (docs/decisions/0034-thresholds-are-measured.md).\n\n"
    "\b\nExamples:\n  archipel proofs calibrate trained --quick\n"
    "  archipel proofs calibrate trained --older version-4 --sequential int8 --out thresholds.json",
)
