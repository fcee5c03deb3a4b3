"""The command `fastpaca`: one file per subcommand, imported on demand."""
