"""pawl's agent: what is said and done, the loop that does it, the models that are asked, the command line."""

__version__ = "0.1.0"
