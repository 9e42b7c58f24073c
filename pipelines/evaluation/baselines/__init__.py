"""What people would use instead: each trained and asked on the same rows as the world model."""
