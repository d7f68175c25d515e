"""One pass over the clips of an adapted model, and what is measured on it: measures, the models as states of one, what
they share.
"""
