"""The registry of agents: each file here is one, a module that follows `evals.agent.Agent`."""
