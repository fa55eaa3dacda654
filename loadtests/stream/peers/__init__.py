"""Other ways to do the same work, each set up as its own documentation advises; see the README beside ``stream/``."""
