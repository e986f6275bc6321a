"""The workstation's commands, one file each. Only here is anything printed."""
