"""A file per measure: each an accumulator with `update` and `compute` (see `measure.py`)."""

from ...machine.requirements import require

require("torch", "scipy", "scikit-learn", "threadpoolctl", "pandas")


from .cka import Cka
from .contribution import Contribution
from .erasure import Erasure
from .lens import Lens
from .ranks import Ranks
from .spectra import Spectra

#: Every measure by the name that a config has for it.
MEASURES = {
    "contribution": Contribution,
    "lens": Lens,
    "ranks": Ranks,
    "spectra": Spectra,
    "cka": Cka,
    "erasure": Erasure,
}
