"""config.json and generation_config.json of a model directory, as one description of a decoder.

Law: loads no tensor library: an operator opens a run with what is read here.
"""

from dataclasses import replace
from pathlib import Path

from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.endings import CONFIG_FILE, read_end_ids
from archipel.model.json_files import BadJsonFile, read_json_object


class InvalidModel(ValueError):
    """The directory is not a model that this network can load."""


def read_config(path: Path) -> DecoderConfig:
    """Read what a model directory says of its architecture and of the ids that end a completion.

    Raises:
        InvalidModel: no such file, too large, not JSON, or not one of our architectures.
    """
    file = path / CONFIG_FILE
    try:
        fields = read_json_object(file)
        config = DecoderConfig.from_hf(fields)
        return replace(config, eos_token_ids=read_end_ids(path, fields))
    except BadJsonFile as error:
        raise InvalidModel(_with_place(path, str(error))) from None
    except InvalidConfig as error:
        raise InvalidModel(f"{file}: {error}") from None


def _with_place(path: Path, fault: str) -> str:
    return fault if fault.startswith(str(path)) else f"{path}: {fault}"
