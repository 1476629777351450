"""What programs and notebooks call (docs/api.md); the commands of the same names call it too."""
