"""Inputs that real samples seldom hold: other sizes, absent modalities, extreme values."""
