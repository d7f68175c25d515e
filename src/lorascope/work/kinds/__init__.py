"""Kinds of units of work: training a cell, analysing an adapter."""
