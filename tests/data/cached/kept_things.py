"""Entries of a cache that tests make."""

import torch

from flowers_tl.data.cached.disk_cache import Cache

VALUES = torch.arange(60, dtype=torch.float32).view(5, 12)


def keep(cache: Cache, values: torch.Tensor = VALUES, made: list | None = None, **description) -> torch.Tensor:
    """The values (rows, 12), as the cache gives them; where it makes the entry, ``made`` gets its description."""

    def build(writer):
        if made is not None:
            made.append(description)
        for row in values:
            writer.write(row)

    entry = cache.get("things", "some things", description or {"a": 1}, "decode", build)
    return entry.tensor(torch.float32).view(-1, 12)
