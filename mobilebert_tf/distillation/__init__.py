"""Knowledge transfer: losses, stages, and the student's start."""
