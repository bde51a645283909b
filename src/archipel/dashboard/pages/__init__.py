"""What each page tells: a look and a chronicle cut into figures, charts and tables, before anybody draws it.

Parts: `value` (what a page is made of), `paths` (where pages lie), `wording` (numbers, times and strangers' text), then a
module a page. Law: pure; a page holds text alone, and no link but those that `paths` makes.
"""
