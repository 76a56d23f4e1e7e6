"""The scripts that made the embedded models and data. Nothing else in the package imports them."""
