"""Records in the order of random keys, merged in bounded memory.

Every record has a random 64-bit key; the data set is the sequence of all
records in the order of their keys. So the order depends neither on which
process made a record nor on when, and a part of it can be made by itself:
the keys are cut into equal ranges, "buckets", small enough to sort in memory.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

_KEY_BITS = 64
# Records sorted at once hold about so many bytes.
BUCKET_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Block:
    """Records in the order of their keys.

    Attributes:
        keys: uint64 [N], ascending.
        ends: int64 [N]: record i is data[ends[i - 1] : ends[i]], the first
            one begins at 0.
        data: all records.
    """

    keys: np.ndarray
    ends: np.ndarray
    data: bytes

    def select(self, low: int, high: int) -> "Block":
        """Returns the records from `low` to before `high`."""
        start, stop = (int(self.ends[i - 1]) if i else 0 for i in (low, high))
        return Block(
            self.keys[low:high],
            self.ends[low:high] - start,
            self.data[start:stop],
        )


def make_block(keys: np.ndarray, records: Sequence[bytes]) -> Block:
    """Returns a block of records whose keys ascend."""
    ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
    return Block(keys, ends, b"".join(records))


def concatenate(blocks: Sequence[Block]) -> Block:
    """Joins blocks, the keys of each not below those of the one before."""
    sizes = [int(b.ends[-1]) if len(b.ends) else 0 for b in blocks]
    offsets = np.cumsum([0, *sizes])
    ends = [b.ends + start for b, start in zip(blocks, offsets, strict=False)]
    return Block(
        np.concatenate([b.keys for b in blocks]),
        np.concatenate(ends),
        b"".join(b.data for b in blocks),
    )


def merge(blocks: Sequence[Block]) -> Iterator[bytes]:
    """Yields the records of all blocks by key, equal ones by block."""
    keys = np.concatenate([b.keys for b in blocks])
    owners = np.repeat(np.arange(len(blocks)), [len(b.keys) for b in blocks])
    ends = np.concatenate([b.ends for b in blocks])
    starts = np.concatenate(
        [np.r_[0, b.ends[:-1]][: len(b.ends)] for b in blocks]
    )
    order = np.argsort(keys, kind="stable")
    for owner, start, end in zip(
        owners[order].tolist(),
        starts[order].tolist(),
        ends[order].tolist(),
        strict=True,
    ):
        yield blocks[owner].data[start:end]


def num_buckets(num_bytes: int) -> int:
    """Returns how many buckets hold `num_bytes` in bounded memory."""
    return max(1, -(-num_bytes // BUCKET_BYTES))


def bucket_limits(keys: np.ndarray, buckets: int) -> np.ndarray:
    """Returns int64 [buckets + 1]: where each bucket begins in sorted keys."""
    firsts = [(bucket << _KEY_BITS) // buckets for bucket in range(1, buckets)]
    limits = np.searchsorted(keys, np.array(firsts, np.uint64))
    return np.concatenate([[0], limits, [len(keys)]]).astype(np.int64)


def shard_ranges(total: int, num_shards: int) -> list[tuple[int, int]]:
    """Cuts `total` records into shards of equal size, give or take one.

    Returns:
        The places of the first record of each and of the one after its last.

    Raises:
        ValueError: if there are fewer records than shards.
    """
    if total < num_shards:
        raise ValueError(
            f"--num_shards: got {num_shards} shards for {total} instances, "
            "expected at most one shard per instance"
        )
    ends = [total * shard // num_shards for shard in range(num_shards + 1)]
    return list(zip(ends, ends[1:], strict=False))


def records_of_range(
    bucket_sizes: Iterable[int],
    start: int,
    end: int,
    read_bucket: Callable[[int], Sequence[Block]],
) -> Iterator[bytes]:
    """Yields the records at the places `start` to before `end`.

    Args:
        bucket_sizes: number of records of each bucket.
        start: place of the first record wanted, in the order of all keys.
        end: place after the last one.
        read_bucket: returns the blocks of a bucket, given its index; called
            for those that are needed, in order.
    """
    first = 0
    for bucket, size in enumerate(bucket_sizes):
        if first < end and first + size > start and size:
            for place, record in enumerate(merge(read_bucket(bucket)), first):
                if start <= place < end:
                    yield record
        first += size
