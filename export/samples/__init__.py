"""The samples that a bundle is checked on, and those that int8 is calibrated on."""
