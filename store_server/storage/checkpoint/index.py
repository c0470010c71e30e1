"""model.safetensors.index.json: which file of a checkpoint holds which tensor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_server.storage.checkpoint.json_file import read_json_object
from store_server.storage.checkpoint.layout import (
    COLUMNS_A_SCALE,
    INDEX,
    SCALE_DTYPE,
    WEIGHT_DTYPE,
    scale_name,
    weight_name,
)
from store_server.storage.errors import InvalidCheckpoint, StorageFailure
from store_server.storage.files.regular_file import can_name_a_file, fault_of_path
from store_server.storage.files.safetensors_file import SafetensorsFile, Tensor, read_safetensors_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_WEIGHT = re.compile(r"(?:.*\.)?layers\.(?P<layer>[0-9]+)\.engram\.embed\.weight")


@dataclass(frozen=True, slots=True)
class CheckpointIndex:
    """The map from tensors to files, and its digest."""

    path: Path
    files: dict[str, object]
    digest: str

    def prefix(self, layers: Collection[int]) -> str:
        """Return what stands before `layers.` in the names of all tables, "" or for instance "model.".

        Raises InvalidCheckpoint unless the tables of the index are those of `layers`.
        """
        names = {name: int(found["layer"]) for name in self.files if (found := _WEIGHT.fullmatch(name))}
        foreign = [name for name, layer in names.items() if layer not in layers]
        if foreign:
            raise InvalidCheckpoint(
                self.path, foreign[0], f"tables of the config's layers {list(layers)} only", "this one"
            )
        prefixes = {name.removesuffix(weight_name(layer)) for name, layer in names.items()}
        if len(prefixes) > 1:
            raise InvalidCheckpoint(self.path, "weight_map", "one table a layer", ", ".join(sorted(names)))
        return prefixes.pop() if prefixes else ""

    def tensor(self, name: str, dtype: str, shape: tuple[int, int]) -> tuple[SafetensorsFile, Tensor]:
        """Return a tensor that lies where the index says and is what it must be; raises InvalidSource."""
        file = self._file(name)
        tensor = file.tensors.get(name)
        if tensor is None:
            some = ", ".join(sorted(file.tensors)) or "no tensor"
            raise InvalidCheckpoint(file.path, f"tensor {name!r}", f"it, as {self.path.name} says", some)
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            found = f"{tensor.dtype}{list(tensor.shape)}"
            raise InvalidCheckpoint(file.path, f"tensor {name!r}", f"{dtype}{list(shape)}", found)
        return file, tensor

    def _file(self, name: str) -> SafetensorsFile:
        key = f"weight_map: {name}"
        file_name = self.files.get(name, "no such key")
        if name not in self.files or not isinstance(file_name, str) or not _is_plain(file_name):
            raise InvalidCheckpoint(self.path, key, "the name of a file beside the index", file_name)
        path = self.path.parent / file_name
        try:
            if fault := fault_of_path(path):
                raise InvalidCheckpoint(self.path, key, f"a file that is there, {path}", fault)
            return read_safetensors_file(path)
        except OSError as error:
            raise StorageFailure(path, error.strerror or str(error)) from error


def read_index(directory: Path) -> CheckpointIndex:
    """Read the index of a checkpoint; raises InvalidCheckpoint and StorageFailure."""
    index = read_json_object(directory / INDEX)
    files = index.fields.get("weight_map")
    if not isinstance(files, dict):
        raise InvalidCheckpoint(index.path, "weight_map", "an object of tensor names", type(files).__name__)
    return CheckpointIndex(index.path, files, index.digest)


def table_tensors(
    index: CheckpointIndex, prefix: str, layer: int, num_rows: int, head_dim: int
) -> list[tuple[SafetensorsFile, Tensor]]:
    """Return the tensors that hold the columns of a layer's rows, in their order; raises InvalidSource."""
    return [
        index.tensor(prefix + weight_name(layer), WEIGHT_DTYPE, (num_rows, head_dim)),
        index.tensor(prefix + scale_name(layer), SCALE_DTYPE, (num_rows, head_dim // COLUMNS_A_SCALE)),
    ]


def _is_plain(file_name: str) -> bool:
    """Tell whether this names a file in the same directory and nothing else."""
    return file_name not in ("", ".", "..") and "/" not in file_name and can_name_a_file(file_name)
