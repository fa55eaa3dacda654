"""More events than the members can answer: what is answered in time, by slack and as it comes."""
