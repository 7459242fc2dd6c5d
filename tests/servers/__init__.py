"""Real servers for the tests: finds or installs them, starts them in temporary folders, and lends each test a room of its own."""
