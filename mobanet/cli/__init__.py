"""The command line: options, experiments by name, help, and mistakes told in the words that the user typed."""
