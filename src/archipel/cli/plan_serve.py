"""`archipel plan serve`: a model on one's own hardware against hosted prices."""

from archipel.cli.questions import question_command

command = question_command(
    "serve",
    """A model on your own hardware against hosted prices: memory, tokens per second, cost per million tokens.

    Then a cascade of it with a large hosted model; and, under one training budget, k specialists with a
    router against one generalist.

    \b
    Examples:
      archipel plan serve
      archipel plan serve --model llama-3-70b --hardware m3-ultra --quant q8
      archipel plan serve --params 120B --active-params 5B --hardware h100 --batch 32 --country deu
      archipel plan serve --config model/config.json --quant q8 --hardware m3-ultra
      archipel plan serve --large closed-mid --escalate '20 percent'
      archipel plan serve --specialists 16 --training-budget 1e23FLOP --plot serve.png
    """,
)
