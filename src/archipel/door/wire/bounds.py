"""How much a stranger may say, each bound by name.

Law: what hangs on the model (its context, its vocabulary) is looked at where the model is known (`training.fit`,
`sampling.fit`); these hold for every model.
"""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of one request, unpacked."""
MAX_JSON_BYTES = 4 * 1024 * 1024
"""Of one request in JSON, whose values take many times their room once they are read;"""
MAX_TRAINING_JSON_BYTES = 16 * 1024 * 1024
"""and of the older clients' data, of which they send what they take for 5 MB at once,"""
MAX_PROMPT_JSON_BYTES = 16 * 1024 * 1024
"""and of a prompt."""
MAX_JSON_CONTAINERS = 1 << 16
MAX_JSON_TEXTS = 1 << 16
MAX_JSON_VALUES = 1 << 22
"""In one request: lists and objects, texts, values of any kind."""
MAX_DATA = 1024
"""Of one forward_backward: what clients send at once."""
MAX_TOKENS_PER_DATUM = 1 << 20
MAX_TOKENS_PER_CALL = 1 << 22
"""Over all data of one forward_backward."""
MAX_INPUTS = 16
"""Named inputs of the loss, of one datum."""
MAX_NAME_CHARACTERS = 128
"""Of an input, a constant, a model, a checkpoint, an id."""
MAX_CONSTANTS = 16
"""Of a loss, or of an optimiser."""
MAX_DENSE_CELLS = 1 << 22
"""Of one sparse tensor, once its empty cells are written out."""
MAX_SPANS = 4096
"""Of provenance, of one datum and one field."""
MAX_CHUNKS = 4096
"""Of one prompt, or of one datum's input."""
MAX_RANK = 256
MAX_SEQ_ID = 2**62
MAX_TRAINING_SEQ_ID = 2**31 - 1
"""It is an int32 on the wire."""
MAX_SEED = 2**64 - 1
MAX_SAMPLES = 128
"""Completions of one prompt in one call."""
MAX_NEW_TOKENS = 1 << 20
MAX_TOP_K = 1 << 20
MAX_TEMPERATURE = 100.0
MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1000
MAX_TOP_LOGPROBS = 64
"""Likeliest tokens that are told of at one place."""
MAX_TOP_CELLS = 1 << 22
"""Likeliest tokens that are told of in one answer: places times tokens at each."""
MAX_TARGET_CELLS = 1 << 16
"""Tokens whose log-probability is asked in one prompt."""
MAX_TAGS = 64
MAX_METADATA_KEYS = 64
MAX_METADATA_CHARACTERS = 16_384
"""Keys and values together."""
MAX_TEXT_CHARACTERS = 4096
"""Of a name that people read, or of a detail."""
MAX_RETRIEVED = 10_000
"""Requests that are reported as retrieved in one call."""
MAX_WAIT_S = 60.0
"""That a client may ask a poll to last."""
MAX_PAGE = 1000
"""Rows of a listing."""
MIN_TTL_S, MAX_TTL_S = 1, 10 * 366 * 24 * 3600
MAX_CHECKPOINT_CHARACTERS = 128
