"""Values come back in the order of the clips, or not at all; and no measure passes over a clip
whose numbers are broken.
"""

import numpy as np
import pytest
import torch

from lorascope.analysis.measures import MEASURES
from lorascope.analysis.per_clip import PerClip
from lorascope.errors import LorascopeError

from .streams import ToyModel, drive, make_batches, make_study

#: Measures that the toy cannot drive: their own tests do this.
OTHERWISE = ("patching", "weights", "probes", "heads", "counterfactual", "recognition", "frontier")


def test_values_come_in_the_order_of_the_clips():
    batches = make_batches()
    kept = PerClip(make_study({}, batches))
    for batch in reversed(batches):
        kept.put(batch, torch.stack([batch.rows, 2 * batch.rows], dim=1).float())
    np.testing.assert_array_equal(kept.compute("rows"), np.outer(np.arange(12), [1, 2]))


def test_a_missing_clip_is_named():
    batches = make_batches()
    kept = PerClip(make_study({}, batches))
    for batch in batches[1:]:
        kept.put(batch, batch.rows[:, None].float())
    with pytest.raises(LorascopeError, match=r"^rows: not finite for clip 'clip000' \(4 of 12 clips\)"):
        kept.compute("rows")


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in OTHERWISE])
def test_nan_from_a_model_is_one_line_in_every_measure(name):
    model = ToyModel(0)
    batches = make_batches()
    batches[1].features[1] = torch.nan
    measure = MEASURES[name](make_study({"trained": model}, batches))
    drive(measure, {"trained": model}, batches)
    clip = f"clip{int(batches[1].rows[1]):03d}"
    with pytest.raises(LorascopeError, match=clip) as caught:
        measure.compute()
    assert "\n" not in str(caught.value)
