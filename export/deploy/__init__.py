"""What serving and phones need beside an artifact."""
