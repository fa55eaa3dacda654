"""How well the controller steers: pipelines, workloads, baselines and scores on one simulated cluster."""
