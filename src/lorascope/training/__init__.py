"""One cell = (backbone, method, corpus, fold, seed): train it, predict its test speaker, keep its numbers."""
