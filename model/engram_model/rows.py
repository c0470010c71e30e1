"""The bytes of rows as numbers in a tensor, on the device where the bytes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engram_client import formats
from engram_client.formats import BlockScaledFloat8Rows, OneScaleFloat8Rows
from engram_model.host_float8 import decode_as_bfloat16

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.formats import RowFormat

# Formats whose bytes are the memory of a tensor: looked at, not converted.
DTYPE_OF_FORMAT = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def decode_rows(rows: NDArray[np.uint8] | Tensor, row_format: str | RowFormat, out: Tensor | None = None) -> Tensor:
    """Return the numbers in uint8 rows (..., row_bytes) as a tensor (..., width) that needs no gradient.

    A format that was found beforehand (`formats.find_format`) can be given in place of its name; compiled code has to,
    as a name that holds a scale is not read without a graph break.

    Without `out`, float rows keep their data type and share memory with `rows` where torch allows it; all others become
    float32, on the device of the rows. With `out`, a floating-point tensor (..., width) that shares no memory with the
    rows, the rows are taken to its device and decoded into it. The numbers are those of `engram_client.formats.decode`
    bit for bit (a NaN is a NaN), rounded to the type of `out` where that is another one.

    Raises:
        ValueError: the format is unknown, `row_bytes` is not a width that it can have, or `out` is not as described.
        TypeError: the rows are not uint8.
    """
    known = formats.find_format(row_format) if isinstance(row_format, str) else row_format
    if not isinstance(rows, Tensor):
        rows = torch.from_numpy(np.require(rows, requirements=["C", "W"]))  # torch knows no read-only memory
    if rows.dtype != torch.uint8:
        raise TypeError(f"rows must be uint8, got {rows.dtype}")
    shape = formats.decoded_shape(known, tuple(rows.shape))
    if out is not None:
        _check_out(out, shape, rows)
        decode_into(rows, known, out)
        return out
    dtype = DTYPE_OF_FORMAT.get(known.name)
    if dtype is not None:
        return _viewed(rows, dtype)
    values = torch.empty(shape, dtype=torch.float32, device=rows.device)
    _decode_quantized(rows, known, values)
    return values


def decode_into(rows: Tensor, known: RowFormat, out: Tensor) -> None:
    """Do what `decode_rows` does with `out`, for a caller whose tensors are known to fit."""
    rows = rows.to(out.device)
    dtype = DTYPE_OF_FORMAT.get(known.name)
    if dtype is not None:
        out.copy_(_viewed(rows, dtype))
    elif out.is_contiguous() and (out.dtype == torch.float32 or _has_exact_bfloat16(known, out)):
        _decode_quantized(rows, known, out)
    else:
        values = torch.empty(out.shape, dtype=torch.float32, device=out.device)
        _decode_quantized(rows, known, values)
        out.copy_(values)


def _check_out(out: Tensor, shape: tuple[int, ...], rows: Tensor) -> None:
    if not out.is_floating_point() or tuple(out.shape) != shape:
        raise ValueError(f"out must be floating point of shape {shape}, got {out.dtype} of shape {tuple(out.shape)}")
    if out.device == rows.device and out.device.type != "meta" and _overlap(_reach(out), _reach(rows)):
        raise ValueError("out must not share memory with the rows")


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _reach(tensor: Tensor) -> range:
    """Return the addresses from the first to the last byte of a tensor."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    num_bytes = (last + 1) * tensor.element_size() if tensor.numel() else 0
    return range(tensor.data_ptr(), tensor.data_ptr() + num_bytes)


def _viewed(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bytes as elements, copied only where they lie so that torch cannot look at them in place."""
    if rows.numel() == 0:
        return rows.new_empty((*rows.shape[:-1], rows.shape[-1] // dtype.itemsize), dtype=dtype)
    try:
        return rows.view(dtype)
    except RuntimeError:  # torch looks only at elements that lie at multiples of their own size
        return rows.clone(memory_format=torch.contiguous_format).view(dtype)


def _has_exact_bfloat16(known: RowFormat, out: Tensor) -> bool:
    """Whether bfloat16 can be decoded into straight: all bytes and scales fit, products are rounded once, if at all."""
    return out.dtype == torch.bfloat16 and isinstance(known, BlockScaledFloat8Rows)


def _decode_quantized(rows: Tensor, known: RowFormat, target: Tensor) -> None:
    """Write the values of rows into `target`, contiguous (..., width): float32, or bfloat16 where that is exact."""
    if rows.device.type == "cpu" and not torch.compiler.is_compiling():
        if target.dtype == torch.bfloat16:
            decode_as_bfloat16(rows, target)
        else:
            formats.decode(rows.numpy(), known.name, out=target.numpy())  # the same bits, several times as fast
    elif isinstance(known, OneScaleFloat8Rows):
        target.copy_(rows.view(torch.float8_e4m3fn))
        target.mul_(known.scale)
    else:
        _decode_groups(rows, known, target)


def _decode_groups(rows: Tensor, known: RowFormat, target: Tensor) -> None:
    """Do so for a format that has a scale for every group of values."""
    width = target.shape[-1]
    codes, scales = rows[..., :width], rows[..., width:]
    groups = target.view(*target.shape[:-1], width // known.group_width, known.group_width)
    if isinstance(known, BlockScaledFloat8Rows):
        target.copy_(codes.view(torch.float8_e4m3fn))
        groups.mul_(_e8m0_values(scales).to(target.dtype).unsqueeze(-1))
    else:
        wide_scales = _viewed(scales, torch.float16).to(torch.float32)
        torch.mul(codes.view(torch.int8).reshape(groups.shape), wide_scales.unsqueeze(-1), out=groups)


def _e8m0_values(exponents: Tensor) -> Tensor:
    """Return 2^(byte - 127) as float32: the byte is the exponent but for 0, a subnormal number, and 255, which is NaN.

    torch has a type for it from 2.7 on.
    """
    bits = exponents.to(torch.int32) << 23
    return bits.masked_fill(exponents == 0, 1 << 22).masked_fill(exponents == 255, 0x7FC00000).view(torch.float32)
