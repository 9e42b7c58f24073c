"""What one GPU does: a script for a machine that has torch, numpy and two small wheels."""
