"""What those who look after the service see of it: figures, health, metrics, traces."""
