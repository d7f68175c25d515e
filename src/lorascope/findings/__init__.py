"""What the units' tables say together: scores, comparisons. Tables in, tables out; no torch."""
