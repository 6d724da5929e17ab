"""The journal: what hooks have not done yet, on disk, so that it outlives the process."""
