"""The device's commands, one file each. Only here is anything printed."""
