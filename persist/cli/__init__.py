"""The command line: nothing but parsing, printing and exit codes."""
