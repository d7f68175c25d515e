"""Who is trained on, who chooses and who is tested: folds of whole speakers."""
