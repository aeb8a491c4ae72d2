"""The public contract of Kith: what services tell each other, and how it travels."""
