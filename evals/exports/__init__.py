"""Formats that a run is exported to. This folder is the registry: each file is a format (`evals.export`)."""
