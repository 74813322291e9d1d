"""Blocks, buckets and shards give one order, however they are cut."""

import numpy as np
import pytest

from mobilebert_tf.data.pretraining_examples import shuffling


@pytest.fixture(name="blocks")
def _blocks():
    rng = np.random.default_rng(0)
    blocks = []
    for owner in range(5):
        keys = np.sort(rng.integers(2**64, size=40, dtype=np.uint64))
        # Equal keys in two blocks: the earlier block comes first.
        keys[:3] = [7, 7, 2**63]
        keys.sort()
        texts = [b"%d:%d" % (owner, i) * (i % 4) for i in range(40)]
        blocks.append(shuffling.make_block(keys, texts))
    return blocks


def _pairs(block):
    ends = [0, *block.ends.tolist()]
    assert ends[-1] == len(block.data)
    return [
        (int(key), block.data[start:end])
        for key, start, end in zip(block.keys, ends, ends[1:], strict=False)
    ]


def _expected(blocks):
    pairs = [pair for block in blocks for pair in _pairs(block)]
    return [record for _, record in sorted(pairs, key=lambda pair: pair[0])]


def test_merge_sorts_by_key_and_keeps_ties_in_order(blocks):
    assert list(shuffling.merge(blocks)) == _expected(blocks)


def test_select_is_a_slice(blocks):
    for low, high in ((0, 40), (3, 3), (0, 5), (17, 40)):
        part = blocks[2].select(low, high)
        assert _pairs(part) == _pairs(blocks[2])[low:high]


@pytest.mark.parametrize("buckets", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("num_shards", [1, 3, 200])
def test_buckets_and_shards_do_not_change_the_order(
    blocks, buckets, num_shards
):
    limits = [shuffling.bucket_limits(b.keys, buckets) for b in blocks]
    sizes = sum(np.diff(limit) for limit in limits)
    assert sizes.sum() == 200
    read = []

    def read_bucket(bucket):
        read.append(bucket)
        return [
            block.select(limit[bucket], limit[bucket + 1])
            for block, limit in zip(blocks, limits, strict=True)
        ]

    shards = [
        list(shuffling.records_of_range(sizes.tolist(), *place, read_bucket))
        for place in shuffling.shard_ranges(200, num_shards)
    ]
    assert sum(shards, []) == _expected(blocks)
    lengths = [len(shard) for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    # A bucket is read again only where a shard ends within it.
    assert len(read) < buckets + num_shards


def test_buckets_are_ranges_of_equal_width():
    keys = np.array([0, 2**62 - 1, 2**62, 2**63, 2**64 - 1], np.uint64)
    assert shuffling.bucket_limits(keys, 4).tolist() == [0, 2, 3, 4, 5]
    assert shuffling.num_buckets(0) == 1
    assert shuffling.num_buckets(shuffling.BUCKET_BYTES * 3 + 1) == 4


def test_too_many_shards():
    with pytest.raises(ValueError, match="got 3 shards for 2 instances"):
        shuffling.shard_ranges(2, 3)
