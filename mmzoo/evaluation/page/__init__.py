"""What every page shares: templates, colours, inline figures."""
