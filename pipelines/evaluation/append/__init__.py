"""What one more bundle costs, whatever came before."""
