"""The registry of benchmarks: each file here is one, a module that follows `evals.benchmark.Benchmark`."""
