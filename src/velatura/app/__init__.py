"""The command line and the Studio, its counterpart in Python."""
