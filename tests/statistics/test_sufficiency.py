"""The least that is as good as all."""

import numpy as np
import pandas as pd
import pytest

from lorascope.statistics.sufficiency import LOSS, as_good, least


def rows(*found):
    return pd.DataFrame(found, columns=["share", "delta_uar", "delta_uar_high"])


def test_the_smallest_is_taken_whose_larger_ones_are_all_as_good():
    table = rows((0.1, 0.0, 0.1), (1.0, 0.0, 0.0), (0.5, -0.01, 0.01), (0.2, -0.1, -0.05))
    smallest = least(table, "share")
    # .1 is as good again, below one that isn't: a chance that many tries give
    assert smallest is not None and smallest["share"] == 0.5


def test_the_mean_loss_is_bounded_however_wide_the_interval():
    assert list(as_good(rows((0.5, -LOSS, 0.2), (0.2, -LOSS - 1e-3, 0.2), (0.1, -0.01, -1e-3)))) == [True, False, False]


def test_all_of_it_may_go():
    smallest = least(rows((1.0, 0.0, 0.0), (0.0, 0.01, 0.02)), "share")
    assert smallest is not None and smallest["share"] == 0


@pytest.mark.parametrize("ends", [np.nan, -0.5])
def test_what_has_no_interval_is_not_as_good_and_nothing_is_the_least(ends):
    """One clip has no interval, and an empty answer must not become the smallest share."""
    assert least(rows((1.0, 0.0, ends), (0.1, 0.0, ends)), "share") is None
