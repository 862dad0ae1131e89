"""What a run plans, drops, orders and leaves in its directory."""
