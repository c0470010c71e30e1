"""The models whose tables are known."""

from __future__ import annotations

from typing import Final

from store_server.commands.plan.workload import Model


def _model(name: str, *, table_rows: tuple[int, ...], columns: int, row_bytes: int) -> Model:
    """Return a model of tables of so many rows, of which a token reads one a column."""
    return Model(
        name=name,
        num_tables=len(table_rows),
        table_bytes=sum(table_rows) * row_bytes,
        rows_a_token=len(table_rows) * columns,
        row_bytes=row_bytes,
    )


_DEMO_ROWS: Final = (10_344_164, 10_348_242)
# As `EngramConfig` describes them. The rows of V4.1 are float8 with their scales, those of the others bfloat16.
PRESETS: Final[dict[str, Model]] = {
    model.name: model
    for model in (
        _model("v41-flash", table_rows=(384_006_168, 384_016_682), columns=24, row_bytes=264),
        _model("paper-27b", table_rows=(36_199_972, 36_204_260), columns=16, row_bytes=160),
        _model("paper-40b", table_rows=(115_837_464, 115_841_428), columns=16, row_bytes=160),
        _model("official-demo", table_rows=_DEMO_ROWS, columns=16, row_bytes=128),
        _model("academic", table_rows=_DEMO_ROWS, columns=16, row_bytes=128),
        _model("study", table_rows=(12_000_000,), columns=12, row_bytes=128),
    )
}
