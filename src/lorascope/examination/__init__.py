"""The doctor: whether an adapter is what its owner thinks it is. Checks find sicknesses by code; some can be mended."""
