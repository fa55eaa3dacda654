"""The admin room: what runs, how well, what was decided and why; pause and resume; for people and programs."""
