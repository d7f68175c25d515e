"""Tests of the report: tables, figures and the page, on run folders of made-up numbers."""
