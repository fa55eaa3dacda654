"""What watches a pipeline: words an author declares, and the pure, restorable watchers that they build."""
