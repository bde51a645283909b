"""`archipel corpus`: text as token shards, to pretrain on."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "make": ("corpus_make", "Token shards and a manifest from text files and JSON lines"),
    "show": ("corpus_show", "What a corpus holds, and how far it lasts"),
    "verify": ("corpus_verify", "Look at every byte of a corpus"),
}

command = Lazy(
    name="corpus",
    commands_in=COMMANDS,
    help="Text as token shards, to pretrain on (docs/how-to/make-a-corpus.md).\n\n"
    "\b\nExamples:\n  archipel corpus make books --model start --out corpus --license CC0-1.0 --source Gutenberg\n"
    "  archipel corpus show corpus --sequence-length 512 --steps 30 --batch 16\n"
    "  archipel corpus verify corpus --model start",
)
