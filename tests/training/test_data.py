import numpy as np
import pytest

from lorascope.sound.context import BUCKETS, context_frames
from lorascope.sound.decoding import Clip
from lorascope.sound.features import LogMel
from lorascope.training.data import ClipDataset, LengthBatches, collate


@pytest.mark.parametrize("valid", [1, 49, 50, 51, 733, 1499, 1500])
def test_trim_takes_the_next_bucket_and_full_the_window(valid):
    frames = context_frames(valid, "trim")
    assert frames >= valid and frames in BUCKETS
    assert all(bucket < valid for bucket in BUCKETS if bucket < frames)
    assert context_frames(valid, "full") == 1500


@pytest.mark.parametrize("longest", [15, 500, 525, 3000])
def test_no_context_is_longer_than_the_encoders_window(longest):
    for valid in (1, 14, 49, longest - 1, longest):
        if valid <= longest:
            assert valid <= context_frames(valid, "trim", longest) <= longest
            assert context_frames(valid, "full", longest) == longest


def test_batches_have_one_length_and_hold_every_item_once():
    lengths = np.random.default_rng(0).choice([50, 100, 150], 77)
    sampler = LengthBatches(lengths, 8, seed=1)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(77))
    assert all(len(batch) <= 8 and len({lengths[index] for index in batch}) == 1 for batch in batches)


def test_the_order_is_new_every_epoch_and_the_same_for_a_seed():
    def order(seed, epoch):
        sampler = LengthBatches([50] * 30 + [100] * 30, 4, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)
    assert order(None, 0) == order(None, 3)


def test_items_carry_valid_frames_only_where_the_head_needs_them():
    clips = {"a": Clip("0", 1.0, LogMel(np.ones((80, 60), np.float32), 40))}
    trim, full = (ClipDataset(["a"], {"a": 2}, clips, context)[0] for context in ("trim", "full"))
    assert trim["input_features"].shape == (80, 100) and trim["valid"] == 40
    assert full["input_features"].shape == (80, 3000) and "valid" not in full
    batch = collate([trim, trim])
    assert batch["labels"].tolist() == [2, 2] and batch["input_features"].shape == (2, 80, 100)
