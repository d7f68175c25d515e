"""The checks, grouped by what they look at; a file's `ORDER` says when its turn is. To add one is to add one."""
