"""Rows of equal length out of documents of any length: nothing lost, nothing read twice, no row begun in mid-air.

A document longer than a row is cut into pieces. Each piece begins with BOS, each row with a piece. What a piece leaves
free is filled with other pieces, the tightest fit first, and the little that stays free is not a target.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pack:
    """Pieces in the order of the rows they lie in."""

    starts: NDArray[np.int64]  # of each piece, in the stream of tokens
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]  # row r holds the pieces rows[r] to rows[r + 1]

    def __len__(self) -> int:
        return len(self.rows) - 1


def alone(borders: NDArray[np.int64]) -> Pack:
    """Each document in a row of its own, for who would see its neighbours."""
    return Pack(borders[:-1], np.diff(borders), np.arange(len(borders)))


def pack(borders: NDArray[np.int64], length: int) -> Pack:
    """Documents lie between `borders` (the first 0, the last the end of the stream); rows have `length` places."""
    starts, lengths = _pieces(borders, length)
    whole = np.flatnonzero(lengths == length)
    rows = [[int(piece)] for piece in whole]
    rows += _best_fit(lengths, np.flatnonzero(lengths < length), length)
    order = np.fromiter((piece for row in rows for piece in row), np.int64)
    ends = np.cumsum([0] + [len(row) for row in rows], dtype=np.int64)
    return Pack(starts[order], lengths[order], ends)


def _pieces(borders: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sizes = np.diff(borders)
    counts = -(-sizes // length)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    within = (np.arange(counts.sum()) - first) * length  # where in its document each piece begins
    return np.repeat(borders[:-1], counts) + within, np.minimum(np.repeat(sizes, counts) - within, length)


def _best_fit(lengths: NDArray[np.int64], pieces: NDArray[np.int64], length: int) -> list[list[int]]:
    """Best fit, longest first: each piece goes to the fullest row that still has room for it."""
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = defaultdict(list)  # room left -> rows
    rooms: list[int] = []  # the keys that have rows, sorted: at most `length` of them
    for piece in pieces[np.argsort(-lengths[pieces], kind="stable")]:
        size = int(lengths[piece])
        at = bisect.bisect_left(rooms, size)
        if at == len(rooms):
            row, room = len(rows), length
            rows.append([])
        else:
            room = rooms[at]
            row = by_room[room].pop()
            if not by_room[room]:
                rooms.pop(at)
        rows[row].append(int(piece))
        left = room - size
        if left:
            if not by_room[left]:
                bisect.insort(rooms, left)
            by_room[left].append(row)
    return rows
