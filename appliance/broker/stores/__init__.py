"""Data stores on our endpoint: masters, clones and frontends."""
