"""A simulated cluster that serves: what a schedule does to latencies, without the machines."""
