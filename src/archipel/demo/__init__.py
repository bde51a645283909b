"""The main job on one machine: from random weights to a skill, learned over five unequal nodes, one of which cheats."""
