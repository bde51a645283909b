"""`archipel train`: adapters trained by what is asked of elsewhere."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "remote": ("train_remote", "An adapter of your own, trained at a door on your examples"),
}

command = Lazy(
    name="train",
    commands_in=COMMANDS,
    help="Train where somebody else computes, from examples on this machine.\n\n"
    "\b\nExample:\n  archipel train remote examples.jsonl --out mine",
)
