"""The one engine: fetch, handle, send, commit, written once and used by every room of the hot path."""
