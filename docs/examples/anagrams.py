"""Write an anagram of a word: partly right is worth something, for that is what reinforcement learning climbs."""

from collections import Counter

WORDS = [
    "listen",
    "stone",
    "night",
    "earth",
    "heart",
    "least",
    "tears",
    "parts",
    "north",
    "thorn",
    "angle",
    "state",
    "taste",
    "cheap",
    "peach",
    "bread",
    "beard",
    "space",
    "capes",
    "react",
    "trace",
    "cater",
    "below",
    "elbow",
    "bored",
    "robed",
    "brush",
    "shrub",
    "canoe",
    "ocean",
    "chain",
    "china",
    "crate",
    "early",
    "layer",
]


def tasks(longest=6):
    for word in WORDS:
        if len(word) <= longest:
            yield {"prompt": f"Anagram of {word}: ", "word": word}


def letters(task, completion):
    shared = Counter(task["word"]) & Counter(completion.strip())
    return shared.total() / len(task["word"])


def anagram(task, completion):
    said = completion.strip()
    return float(said != task["word"] and sorted(said) == sorted(task["word"]))


REWARDS = {"letters": letters, "anagram": anagram}
WEIGHTS = {"letters": 0.3, "anagram": 0.7}
METRICS = {"length": lambda task, completion: len(completion)}
