"""Units of work and who computes them."""
