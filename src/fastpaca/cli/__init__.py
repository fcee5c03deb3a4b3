"""The command `fastpaca`: one file per subcommand, imported when it is asked for."""
