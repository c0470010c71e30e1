"""Token ids to row numbers of a layer's table, bit for bit as each family of models computes them, in NumPy.

`NgramHasher` is the hash of the Engram family itself; the other families are `QwenPleHasher`, `LongcatHasher` and
`StudyHasher`. All of them are a `RowHasher`.
"""

from engram_client.hashing.distinct_rows import DistinctRows
from engram_client.hashing.engram import NgramHasher
from engram_client.hashing.history import NgramHistory
from engram_client.hashing.longcat import LongcatHasher, LongcatSpec
from engram_client.hashing.qwen_ple import QwenPleHasher, QwenPleSpec
from engram_client.hashing.row_hasher import RowHasher, local_indices
from engram_client.hashing.spec import HashSpec
from engram_client.hashing.study import StudyHasher, StudySpec

__all__ = [
    "DistinctRows",
    "HashSpec",
    "LongcatHasher",
    "LongcatSpec",
    "NgramHasher",
    "NgramHistory",
    "QwenPleHasher",
    "QwenPleSpec",
    "RowHasher",
    "StudyHasher",
    "StudySpec",
    "local_indices",
]
