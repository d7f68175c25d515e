"""A reader a corpus: its files as a table of recordings."""
