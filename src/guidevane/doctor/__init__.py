"""What is wrong with this machine, the clusters or the rooms: one small check each, all at once."""

from guidevane.doctor.check import Check, Finding, Status, examine
from guidevane.doctor.checks import CHECKS
from guidevane.doctor.where import Where

__all__ = ["CHECKS", "Check", "Finding", "Status", "Where", "examine"]
