"""The registry of engines: each file here is one, a module that follows `evals.engine.Engine`."""
