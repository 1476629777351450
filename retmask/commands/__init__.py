"""Commands of the plugin beside ``harness heads``."""
