"""What lies on the disk: run folders, the cache, locks, results."""
