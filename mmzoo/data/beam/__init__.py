"""Jobs of Apache Beam that can be killed at any time."""
