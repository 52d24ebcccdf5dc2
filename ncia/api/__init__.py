"""The API of one site: the only way in for the console, the command line, agents and the peer."""
