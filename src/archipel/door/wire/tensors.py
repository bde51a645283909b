"""Arrays of numbers as they are on the wire: dense or sparse, in protobuf or JSON, into numpy and back.

Parts: `Layout` and `Cells` (of a sparse one: where its numbers belong), `Tensor` (protobuf read), `TensorData` (JSON
read), `dense`, `tensor_message`, `batched_message`.
Law: the number of bytes agrees with type and shape before anything is made, floats are finite, and a sparse array is
written out within a bound. Little-endian throughout, as on the wire.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from archipel.door.wire import bounds, messages
from archipel.door.wire.errors import Refused
from archipel.door.wire.reading import Body

Array = np.ndarray
MAX_AXES = 2
TYPES: dict[int, np.dtype] = {
    messages.FLOAT32: np.dtype("<f4"),
    messages.INT64: np.dtype("<i8"),
    messages.INT32: np.dtype("<i4"),
    messages.BFLOAT16: np.dtype("<u2"),
}
SAID: dict[str, np.dtype] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8")}
MAX_CELLS = bounds.MAX_TOKENS_PER_CALL


@dataclass(frozen=True, eq=False)
class Layout:
    """Of a sparse array of two axes (CSR): the cells of row r are those from crow[r] up to crow[r + 1]."""

    crow: Array
    """int64 (rows + 1,)"""
    columns: Array
    """int64 (cells,)"""

    @property
    def rows(self) -> Array:
        """int64 (cells,): the row of each."""
        return np.repeat(np.arange(len(self.crow) - 1), np.diff(self.crow))


@dataclass(frozen=True, eq=False)
class Cells:
    """An array as it came: all its numbers, or those of some cells."""

    values: Array
    """float32 or int64, one-dimensional."""
    shape: tuple[int, ...]
    layout: Layout | None = None


class TensorData(Body):
    """In JSON."""

    data: Annotated[
        Annotated[list[int], Field(max_length=MAX_CELLS, fail_fast=True)]
        | Annotated[list[float], Field(max_length=MAX_CELLS, fail_fast=True)],
        Field(union_mode="left_to_right"),
    ]
    dtype: Literal["float32", "int64"]
    shape: Annotated[list[int], Field(max_length=MAX_AXES, fail_fast=True)] | None = None
    sparse_crow_indices: (
        Annotated[list[int], Field(max_length=MAX_CELLS, fail_fast=True)] | None
    ) = None
    sparse_col_indices: Annotated[list[int], Field(max_length=MAX_CELLS, fail_fast=True)] | None = (
        None
    )


def read_json(said: TensorData, name: str) -> Cells:
    """An array said in JSON; name: what it is called, for the sentence.

    Raises:
        Refused: `impossible`.
    """
    kind = SAID[said.dtype]
    if kind.kind == "i" and any(isinstance(each, float) for each in said.data):
        raise _bad(name, "float numbers under the type int64; send whole ones, or float32")
    values = _array(said.data, kind, name)
    layout = None
    if said.sparse_crow_indices is not None or said.sparse_col_indices is not None:
        crow, columns = said.sparse_crow_indices or [], said.sparse_col_indices or []
        index = np.dtype("<i8")
        layout = Layout(_array(crow, index, name), _array(columns, index, name))
        if said.shape is None:
            raise _bad(name, "sparse and without a shape; send it")
    shape = (len(values),) if said.shape is None else tuple(said.shape)
    return _checked(Cells(values, shape, layout), name)


def read_message(said: Any, name: str) -> Cells:
    """An array said in protobuf (`Tensor`).

    Raises:
        Refused: `impossible`.
    """
    kind = TYPES.get(said.dtype)
    if kind is None:
        raise _bad(name, f"of type {said.dtype}; expected float32, int64, int32 or bfloat16")
    layout, raw = None, said.dense
    if said.WhichOneof("encoding") == "sparse_csr":
        raw, index = said.sparse_csr.values, TYPES[messages.INT64]
        layout = Layout(
            _numbers(said.sparse_csr.crow_indices, index, name),
            _numbers(said.sparse_csr.col_indices, index, name),
        )
    values = _numbers(raw, kind, name)
    if said.dtype == messages.BFLOAT16:
        values = (values.astype("<u4") << 16).view("<f4")
    elif said.dtype == messages.INT32:
        values = values.astype("<i8")
    shape = tuple(said.shape[: MAX_AXES + 1])
    if not shape and layout is None:
        shape = (len(values),)
    return _checked(Cells(values, shape, layout), name)


def token_ids(raw: bytes, name: str) -> Array:
    """int32 tokens of a chunk of text.

    Raises:
        Refused: `impossible`.
    """
    return _numbers(raw, TYPES[messages.INT32], name)


def dense(cells: Cells, name: str, empty: int = 0) -> Array:
    """All of it, in its shape; empty: what stands in cells that were not named.

    Raises:
        Refused: `too_large`.
    """
    if cells.layout is None:
        return cells.values.reshape(cells.shape)
    if math.prod(cells.shape) > bounds.MAX_DENSE_CELLS:
        raise Refused(
            "too_large",
            f"{name} has {math.prod(cells.shape)} cells; at most {bounds.MAX_DENSE_CELLS}",
        )
    found = np.full(cells.shape, empty, dtype=cells.values.dtype)
    found[cells.layout.rows, cells.layout.columns] = cells.values
    return found


def tensor_message(values: Array, shape: Sequence[int], layout: Layout | None = None) -> Any:
    """A `Tensor`; values: float32 or int64, of all cells or of those that `layout` names."""
    made = messages.new("Tensor")
    made.dtype = _dtype(values)
    made.shape.extend(shape)
    if layout is None:
        made.dense = _raw(values)
    else:
        made.sparse_csr.values = _raw(values)
        made.sparse_csr.crow_indices = _raw(layout.crow.astype("<i8"))
        made.sparse_csr.col_indices = _raw(layout.columns.astype("<i8"))
    return made


def batched_message(arrays: Sequence[Array]) -> Any:
    """A `BatchedTensor`: one-dimensional arrays of one type, of each datum one."""
    made = messages.new("BatchedTensor")
    lengths = np.array([0, *(each.nbytes for each in arrays)], dtype="<i8")
    made.offsets = np.cumsum(lengths, dtype="<i8").tobytes()
    made.data = b"".join(map(_raw, arrays))
    made.dtype = _dtype(arrays[0]) if arrays else messages.FLOAT32
    return made


def _dtype(values: Array) -> int:
    return messages.INT64 if values.dtype.kind == "i" else messages.FLOAT32


def _raw(values: Array) -> bytes:
    return values.astype(SAID["int64" if values.dtype.kind == "i" else "float32"]).tobytes()


def _array(values: Sequence[float], kind: np.dtype, name: str) -> Array:
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=kind)
    except OverflowError:
        raise _bad(name, f"numbers beyond {kind.name}") from None


def _numbers(raw: bytes, kind: np.dtype, name: str) -> Array:
    if len(raw) % kind.itemsize:
        raise _bad(name, f"{len(raw)} bytes of numbers of {kind.itemsize} bytes each")
    return np.frombuffer(raw, dtype=kind)


def _checked(cells: Cells, name: str) -> Cells:
    """The same. Raises Refused: `impossible`."""
    shape, num_values = cells.shape, len(cells.values)
    if len(shape) > MAX_AXES or any(not 0 <= axis <= MAX_CELLS for axis in shape):
        raise _bad(name, f"of shape {list(shape)!s:.60}; expected one or two axes")
    if cells.values.dtype.kind == "f" and not np.isfinite(cells.values).all():
        raise _bad(name, "NaN or infinite somewhere; mask these places, and send finite numbers")
    if cells.layout is not None:
        _check_layout(cells, cells.layout, name)
    elif math.prod(shape) != num_values:
        raise _bad(name, f"{num_values} numbers for the shape {list(shape)}")
    return cells


def _check_layout(cells: Cells, layout: Layout, name: str) -> None:
    num_values = len(cells.values)
    if len(cells.shape) != 2:
        raise _bad(name, f"sparse and of shape {list(cells.shape)}; expected two axes")
    num_rows, num_columns = cells.shape
    crow, columns = layout.crow, layout.columns
    if len(crow) != num_rows + 1 or len(columns) != num_values:
        raise _bad(
            name,
            f"{len(crow)} row pointers and {len(columns)} columns for {num_rows} rows and {num_values} numbers",
        )
    # Its ends first: differences of numbers near 2^63 wrap around.
    within = crow.min() >= 0 and crow.max() <= num_values
    if not within or crow[0] != 0 or crow[-1] != num_values or (np.diff(crow) < 0).any():
        raise _bad(name, f"row pointers that do not rise from 0 to {num_values}")
    if num_values and not (columns.min() >= 0 and columns.max() < num_columns):
        raise _bad(name, f"columns outside of 0 to {num_columns - 1}")
    step = np.diff(layout.rows * num_columns + columns)
    if (step <= 0).any():
        raise _bad(name, "cells of a row that do not rise; send each once, in the order of columns")


def _bad(name: str, what: str) -> Refused:
    return Refused("impossible", f"{name:.60} is {what}")
