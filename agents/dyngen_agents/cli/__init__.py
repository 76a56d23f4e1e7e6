"""The command `dyngen`."""
