"""A second implementation of docs/format.md and docs/numerics.md, from these documents alone, in plain integers."""
