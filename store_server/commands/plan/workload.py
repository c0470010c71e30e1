"""What is asked for: a model's tables, and how many of its tokens a second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The tables of a model, which are all looked up for every token."""

    name: str
    num_tables: int
    table_bytes: int
    """Of all tables together."""
    rows_a_token: int
    """In all tables together."""
    row_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much of a model is looked up, and what of that reaches the nodes."""

    model: Model
    tokens_per_second: float
    call_tokens: int
    """Tokens whose rows are asked for together: a part of a prompt, or the sequences of a step of decoding."""
    after_deduplication: float = 1.0
    """Share of the rows that is left when repeats within a call are asked for once."""
    after_cache: float = 1.0
    """Share of these that the client's cache does not hold."""

    @property
    def rows_per_second(self) -> float:
        """Rows that the nodes are asked for, all together."""
        return self.tokens_per_second * self.model.rows_a_token * self.after_deduplication * self.after_cache

    @property
    def fetches_per_second(self) -> float:
        """One a call and table."""
        return self.tokens_per_second / self.call_tokens * self.model.num_tables

    @property
    def rows_a_fetch(self) -> float:
        """Rows of one table for one call."""
        return self.rows_per_second / self.fetches_per_second
