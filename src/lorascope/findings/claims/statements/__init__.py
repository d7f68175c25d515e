"""The statements that lorascope decides, a file a family or two: whatever a file lists as `STATEMENTS` is one."""
