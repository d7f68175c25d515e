"""Adapters: made, opened, recovered, converted, saved."""
