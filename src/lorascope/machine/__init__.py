"""What this machine is and has: devices, processes of a launcher, versions, progress."""
