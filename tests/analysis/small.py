"""A small adapted encoder of any family with clips, traced with some measures: shared by tests of interventions."""

from __future__ import annotations

import pandas as pd
import torch
from peft import get_peft_model

from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.measures import MEASURES
from lorascope.analysis.one_pass import trace
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone

from ..tiny import CLASSES, mels, plain_adapter, tiny_whisper
from ..waveforms import tiny_waveform_model, waves

CLIPS, LAYERS, RANK = 16, 3, 4
FRAMES = [14 + i for i in range(CLIPS)]


def stirred(config, model):
    """An adapter of any of PEFT's kinds with everything that is trained moved."""
    torch.manual_seed(1)
    peft = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return peft.eval()


class Small:
    """Model, clips and batches; `peft` may be changed before `tables` is asked for."""

    def __init__(
        self,
        folder,
        family="whisper",
        layout="",
        targets=("v_proj", "fc1", "intermediate_dense"),
        config=None,
        **settings,
    ):
        if family == "whisper":
            tiny_whisper(layers=LAYERS).save_pretrained(folder)
            self.sounds = [mels(1, 40, seed=i)[0] for i in range(CLIPS)]
        else:
            tiny_waveform_model(family, layout, LAYERS).save_pretrained(folder)
            self.sounds = [torch.nn.functional.pad(w, (0, 320 * 40 + 80 - len(w))) for w in waves(FRAMES)]
        self.windowed = family == "whisper"
        model = load_backbone(str(folder)).model
        there = [name for name in targets if any(path.endswith(f".{name}") for path, _ in model.named_modules())]
        self.peft = (
            plain_adapter(model, rank=RANK, targets=there, **settings) if config is None else stirred(config, model)
        )
        self.parts = parts_of(self.peft)
        torch.manual_seed(5)
        self.head = {
            f"{part}.{kind}": torch.randn(shape) * 0.3
            for part, rows, columns in (("projector", 16, 32), ("classifier", 4, 16))
            for kind, shape in (("weight", (rows, columns)), ("bias", (rows,)))
        }
        self.clips = pd.DataFrame(
            {
                "clip": [f"c{i:02d}" for i in range(CLIPS)],
                "speaker": [f"s{i // 4}" for i in range(CLIPS)],
                "emotion": [CLASSES[i % 4] for i in range(CLIPS)],
                "label": [i % 4 for i in range(CLIPS)],
                "frames": FRAMES,
            }
        )

    @property
    def labels(self):
        """[clips]."""
        return torch.tensor(self.clips["label"].to_numpy())

    def logits(self):
        """The model's own, all clips in one forward, [clips, classes] float64."""
        with torch.no_grad():
            found = self.peft(torch.stack(self.sounds), valid=torch.tensor(FRAMES)).logits
        return found.double()

    def tables(self, *names, head=True, **settings):
        """The tables of these measures, of the frozen and the trained model."""
        states = ModelStates(self.parts, self.head if head else None, ("norm-matched",))
        study = study_of(states, self.clips, CLASSES, seed=42, draws=50)
        measures = [MEASURES[name](study, **settings) for name in names]
        sounds = dict(zip(self.clips["clip"], self.sounds, strict=True))
        contexts = dict.fromkeys(sounds, 40)
        batches = batches_of(
            self.clips, lambda clip, _: sounds[clip], contexts, BatchLimits(6), True, windowed=self.windowed
        )
        trace(states, batches, measures)
        return {stem: table for measure in measures for stem, table in measure.compute().items()}
