"""A file per measure: each an accumulator with `update` and `compute` (see `measure.py`)."""
