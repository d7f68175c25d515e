"""Estimates: the arithmetic against PyTorch's own count, and finished cells before arithmetic."""

from __future__ import annotations

import pandas as pd
import pytest
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Model

from lorascope.store.folder import write_json
from lorascope.work.estimate import cell_flops, estimates
from lorascope.work.journal import State, SweepFolder
from lorascope.work.shapes import Shape, encoder_flops, encoder_shape, mean_frames
from lorascope.work.sweep import plan_sweep

from ..tiny import mels, tiny_whisper
from .here import QUICK, RANKS, small


def counted(function):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("frames", [100, 700])
def test_operations_are_those_that_pytorch_counts(frames):
    # with few mel bins, since the first convolution is left out
    model = tiny_whisper(width=128, layers=3, num_mel_bins=4, max_source_positions=frames)
    # the counter knows matrix products, but not the fused attention of a CPU
    model.set_attn_implementation("eager")
    found = counted(lambda: model.encoder(mels(1, frames, bins=4)))
    assert encoder_flops(Shape(128, 3, 256), frames) == pytest.approx(found, rel=0.05)


def test_convolutions_on_a_waveform_are_those_that_pytorch_counts():
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_conv_pos_embeddings=2
    )
    model, samples = Wav2Vec2Model(config).eval(), torch.randn(1, 16_000)
    found = counted(lambda: model.feature_extractor(samples))
    assert encoder_flops(Shape(32, 0, 64, waveform=True), 50) == pytest.approx(found, rel=0.1)


def test_shapes_come_from_the_name_or_the_folder(backbone_folder, tmp_path):
    assert encoder_shape("openai/whisper-large-v3") == encoder_shape("whisper-large") == Shape(1280, 32, 5120)
    assert encoder_shape("whisper-tiny.en") == Shape(384, 4, 1536)
    assert encoder_shape("microsoft/wavlm-base-plus") == Shape(768, 12, 3072, waveform=True)
    assert encoder_shape(str(backbone_folder)) == Shape(32, 3, 64)
    assert encoder_shape("somebody/else") is None
    (tmp_path / "config.json").write_text("{")
    assert encoder_shape(str(tmp_path)) is None


def planned(corpus, backbone, **changes):
    return plan_sweep(small(corpus, backbone, RANKS, **changes))


def test_work_grows_with_epochs_candidates_and_context(corpus, backbone_folder):
    def lora(**settings):
        methods = QUICK | {"lora": QUICK["lora"] | settings}
        (cell, *_) = [one.cell for one in planned(corpus, backbone_folder, methods=methods) if one.cell.kind == "lora"]
        return cell_flops(cell, 50, 48)

    once, test = lora(), len(planned(corpus, backbone_folder)[0].cell.fold.test)
    passes = test * encoder_flops(Shape(32, 3, 64), 50)
    assert lora(epochs=3) - passes == pytest.approx(3 * (once - passes))
    assert lora(learning_rate=[1e-3, 1e-2]) - passes == pytest.approx(2 * (once - passes))
    window = {"name": str(backbone_folder), "context": "full"}
    full = [one.cell for one in plan_sweep(small(corpus, backbone_folder, RANKS, backbone=window))]
    assert cell_flops(full[1], 50, 48) > 20 * once


def test_finished_cells_count_before_arithmetic(corpus, backbone_folder, tmp_path):
    cells = planned(corpus, backbone_folder)
    folder, states = SweepFolder(tmp_path), {one.key: State("missing") for one in cells}
    before = estimates(cells, states, folder, gflops=2.0)
    assert {estimate.source for estimate in before.values()} == {"arithmetic"}
    one = next(one for one in cells if one.cell.kind == "lora")
    frames = mean_frames(one.corpus)
    assert before[one.key].seconds == pytest.approx(cell_flops(one.cell, frames, 48) / 2e9)
    # the frozen stream is computed once for both folds and ranks
    assert sum(before[c.key].seconds > 0 for c in cells if c.cell.kind == "frozen") == 1

    states[one.key] = State("whole", {"hash": "abc"})
    write_json(folder.run.cell("abc") / "metrics.json", {"seconds": 7.0})
    after = estimates(cells, states, folder, gflops=2.0)
    assert one.key not in after
    others = [c for c in cells if c.cell.kind == "lora" and c.key != one.key]
    for other in others:
        ratio = before[other.key].seconds / before[one.key].seconds
        assert after[other.key].source == "finished" and after[other.key].seconds == pytest.approx(7 * ratio)
    assert {after[c.key].source for c in cells if c.cell.kind == "frozen"} == {"arithmetic"}


def test_what_has_no_shape_is_not_estimated(corpus, backbone_folder, tmp_path):
    methods = {"frozen": None, "lora": None, "classic": {"features": "egemaps"}}
    sweep = small(corpus, backbone_folder, {"seed": {"s1": {"seed": 1}}}, methods=methods)
    cells = plan_sweep(sweep)
    found = estimates(cells, {one.key: State("missing") for one in cells}, SweepFolder(tmp_path))
    assert {(estimate.seconds, estimate.source) for estimate in found.values()} == {(None, "unknown")}
    # but what one cell took, another of the same clips takes too
    states = {one.key: State("missing") for one in cells} | {cells[0].key: State("whole", {"hash": "abc"})}
    write_json(SweepFolder(tmp_path).run.cell("abc") / "metrics.json", {"seconds": 7.0})
    found = estimates(cells, states, SweepFolder(tmp_path))
    assert {(found[one.key].seconds, found[one.key].source) for one in cells[1:]} == {(7.0, "finished")}


def test_lengths_come_from_headers_and_pieces(corpus, tmp_path, backbone_folder):
    clips = pd.read_csv(corpus).assign(path=lambda table: [str(corpus.parent / path) for path in table["path"]])
    # all of one file, of which each clip is 0.2 s
    clips.assign(path=clips["path"][0], id=[f"c{n}" for n in range(len(clips))], start=0.1, end=0.3).to_csv(
        tmp_path / "pieces.csv", index=False
    )
    (one, *_) = planned(tmp_path / "pieces.csv", backbone_folder)
    assert mean_frames(one.corpus) == pytest.approx(10)
    (one, *_) = planned(corpus, backbone_folder)
    lengths = [soundfile.info(path).duration for path in clips["path"]]
    assert mean_frames(one.corpus) == pytest.approx(50 * sum(lengths) / len(lengths))
