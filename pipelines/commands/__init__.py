"""The commands of `clinical`, one file per group; heavy imports happen inside the functions."""
