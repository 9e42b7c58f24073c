"""What the audit log costs, how fast it is read, and what becomes of webhooks at a steady rate."""
