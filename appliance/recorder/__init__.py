"""The packets of an interface at wire speed: a thread for each kernel ring, segments with an index, a disk budget.

The threads record and stay in C; the event loop only sees what they report. Nothing that the loop, a disk or a reader
does can make a ring wait, as long as the ring's memory lasts.
"""
