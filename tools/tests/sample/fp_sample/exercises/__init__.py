"""The exercises of the sample."""
