"""The main job on one machine: from random weights to a skill, learned over four unequal nodes."""
