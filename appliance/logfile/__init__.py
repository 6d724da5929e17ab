"""Zeek's log files: which log a name tells, their text, also out of archives, and their records."""
