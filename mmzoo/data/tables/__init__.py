"""Tables: CSV, JSON lines and Parquet, their rows and labels."""
