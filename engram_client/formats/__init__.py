"""Row formats: what the bytes of a row mean.

| name | a row of 256 values | holds NaN and infinity |
|---|---|---|
| `float32`, `float16`, `bfloat16` | 1,024, 512, 512 bytes | yes |
| `float8_e4m3*0x1.8p-7` | 256 E4M3 bytes; the scale of the table is in the name, as a hexadecimal float | no |
| `float8_e4m3` | the same, the scale is 1 | no |
| `float8_e4m3+e8m0/32` | 256 E4M3 bytes, then 8 E8M0 scales, one for 32 columns | no |
| `int8+float16/32` | 256 int8, then 8 float16 scales, one for 32 columns | no |
"""

from engram_client.formats.float8 import E8M0_VALUES, BlockScaledFloat8Rows, OneScaleFloat8Rows
from engram_client.formats.row_format import RowFormat, Unstorable
from engram_client.formats.rows import decode, decoded_shape, encode, find_format, row_bytes

__all__ = [
    "E8M0_VALUES",
    "BlockScaledFloat8Rows",
    "OneScaleFloat8Rows",
    "RowFormat",
    "Unstorable",
    "decode",
    "decoded_shape",
    "encode",
    "find_format",
    "row_bytes",
]
