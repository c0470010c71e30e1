"""What a caller decides about prefetching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchSettings:
    """Limits of a `Prefetcher`, and what it does about late rows; checked on creation."""

    max_tokens: int = 8192
    """Tokens, sequences times length, that one call may ask for: every buffer is made for so many."""
    num_slots: int | None = None
    """Staging buffers: one for each layer of each call whose rows were not yet taken; a `Prefetcher` refuses fewer than
    its layers in a store. None is two for every layer, so that a call can be under way while the one before it is
    computed."""
    timeout_seconds: float = 10.0
    """Time limit of a fetch, from when it is sent."""
    slot_wait_seconds: float = 5.0
    """How long a call waits for a staging buffer to come free."""
    late: Literal["wait", "zero"] = "wait"
    """What a layer does whose rows are not there when its turn comes: `wait` for them, or pass its input through
    unchanged, as if its memories were zero (`zero`). A store that cannot be reached counts as late."""
    deduplicate: Literal["if_it_pays", "always", "never"] = "if_it_pays"
    """Whether each n-gram of a call is asked for once, however often it occurs. It never changes a result. `if_it_pays`
    measures, for calls of about the same size, what it costs the host and what it saves on the way from the store, and
    does without it where it costs more; tried again now and then."""

    hot_bytes: int = 0
    """Bytes of each layer's rows, as the store sends them, to hold on each rank's device after `hold_frequent_rows`."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "timeout_seconds", "slot_wait_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.hot_bytes < 0:
            raise ValueError(f"hot_bytes must not be negative, got {self.hot_bytes}")
        if self.num_slots is not None and self.num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, or None, got {self.num_slots}")
        if self.deduplicate not in ("if_it_pays", "always", "never"):
            raise ValueError(f"deduplicate must be 'if_it_pays', 'always' or 'never', got {self.deduplicate!r}")
        if self.late not in ("wait", "zero"):
            raise ValueError(f"late must be 'wait' or 'zero', got {self.late!r}")
