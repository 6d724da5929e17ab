"""Work on finished capture files: read, survey, merge by time, cut into pieces. Synchronous: needs no loop."""
