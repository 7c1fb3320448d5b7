"""Many pictures on many processes or machines: a plan of rows, engines that work on it, and its table of results.

Nothing in here knows what is made of a row: that is a ``Runner``'s, which a process makes for itself.
"""
