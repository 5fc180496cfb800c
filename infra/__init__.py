"""What stands around the pipeline: embedded stack, command line, configuration files, decisions."""
