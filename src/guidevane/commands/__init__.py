"""The subcommands of ``guidevane``, one file each; each imports what it uses only when it runs."""
