"""The simulated cluster that every policy steers: queues, replicas, batches, hops, joins; one compiled loop."""
