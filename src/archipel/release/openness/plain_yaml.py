"""YAML that says plain things: mappings, lists and text, read with bounds. Everything else is refused.

Law: no scalar is interpreted (`1.0`, `no` and dates stay text, empty ones and null are None), so that one text has one
meaning; anchors, aliases and tags are refused, so that a small file cannot grow or name a class.
"""

from typing import Any

MAX_YAML_BYTES = 128 * 1024
MAX_YAML_DEPTH = 16
MAX_YAML_VALUES = 5_000
"""The largest of 300 model files of the public tool has some 120; the parser takes a second for so many."""
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})


class BadYaml(ValueError):
    """Not YAML, or more than plain YAML."""


def read_plain_yaml(data: bytes) -> Any:
    """The one document in `data`: dicts with text keys, lists, text, None.

    Raises:
        BadYaml: too large, not UTF-8, not YAML, more than one document, too deep or too many values, an anchor, an
            alias, a tag, a key that is no text, or the same key twice.
    """
    import yaml

    if len(data) > MAX_YAML_BYTES:
        raise BadYaml(f"{len(data)} bytes of YAML; at most {MAX_YAML_BYTES} are read")
    try:
        text = data.decode("utf-8")
        return _Building(yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadYaml(f"not YAML: {' '.join(str(error).split())[:200]}") from None


class _Building:
    """Values out of a parser's events, without recursion over more than MAX_YAML_DEPTH levels."""

    def __init__(self, events: Any) -> None:
        self._events = events
        self._left = MAX_YAML_VALUES

    def document(self) -> Any:
        """The only one.

        Raises:
            BadYaml: there is none, or another.
        """
        from yaml import DocumentStartEvent, StreamEndEvent

        next(self._events)  # the stream begins
        if not isinstance(next(self._events), DocumentStartEvent):
            raise BadYaml("an empty file; expected one YAML document")
        value = self._value(next(self._events), MAX_YAML_DEPTH)
        next(self._events)  # the document ends
        if not isinstance(next(self._events), StreamEndEvent):
            raise BadYaml("more than one YAML document; expected one")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        from yaml import AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

        self._left -= 1
        if self._left < 0:
            raise BadYaml(f"more than {MAX_YAML_VALUES} values")
        if depth == 0:
            raise BadYaml(f"nested deeper than {MAX_YAML_DEPTH} levels")
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise BadYaml("an anchor or alias; write the value out where it is meant")
        if event.tag not in (None, "!"):
            raise BadYaml(f"a tag {event.tag!r:.60}; write the value plainly")
        if isinstance(event, MappingStartEvent):
            return self._mapping(depth - 1)
        if isinstance(event, SequenceStartEvent):
            return self._list(depth - 1)
        if not isinstance(event, ScalarEvent):
            raise BadYaml(f"{type(event).__name__} where a value should stand")
        return None if event.style is None and event.value in _NOTHING else str(event.value)

    def _mapping(self, depth: int) -> dict[str, Any]:
        from yaml import MappingEndEvent

        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._value(event, max(depth, 1))
            if not isinstance(key, str):
                raise BadYaml("a key that is no text")
            if key in found:
                raise BadYaml(f"the key {key!r:.60} stands twice")
            found[key] = self._value(next(self._events), depth)
        return found

    def _list(self, depth: int) -> list[Any]:
        from yaml import SequenceEndEvent

        found: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            found.append(self._value(event, depth))
        return found
