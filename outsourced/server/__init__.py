"""The Flask side: what a server of jobs adds to the host's app."""
