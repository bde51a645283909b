"""`plan serve`: whose hosted price a machine is compared with, and what that price was at each date."""

import math

from archipel.planning.quantity import Quantity, given, stated
from archipel.planning.questions.bounds import PER_TOKEN, bounded
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests.option import Request
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

Words = dict[str, str]


def hosted_words(request: Request, of: Sheet, shelf: Shelf) -> Words:
    """Whom the machine is compared with: the price given, the class asked for, the model's own, or the nearest."""
    large = shelf.choose("serving.price", request.large.strip(), "hosted class (--large)")
    words = {"large": large, "large_title": f"{{serving.price.{large}.title}}", "class": ""}
    text = request.hosted.strip()
    if text[:1].isdigit() or text[:1] in (".", "$"):
        said = {"hosted_name": "given", "hosted_title": "the price given", "whose": "given"}
        return words | said | {"price_given": of.words["today"]}
    model = of.words["name"]
    own = model if f"serving.price.{model}.output" in shelf else shelf.fact(f"serve.hosted.{model}")
    name = shelf.choose("serving.price", text, "hosted class (--hosted)") if text else own
    words |= {"whose": "asked" if text else "own" if own else "nearest", "price_given": ""}
    name = name or _nearest_class(of, shelf)
    title = f"{{serving.price.{name}.title}}"
    return words | {"class": name, "hosted_name": name, "hosted_title": title}


def _nearest_class(of: Sheet, shelf: Shelf) -> str:
    """The class whose size is nearest in ratio."""
    size, known = Draws(count=1).centre(of["its.params"]), shelf.members("serve.class")
    sizes = {name: shelf.entry(f"serve.class.{name}").figure.value for name in known}
    sparse = of.fill("{reading}") == "experts"
    alike = {n: s for n, s in sizes.items() if n.endswith("-moe") == sparse} or sizes
    return min(alike, key=lambda name: abs(math.log(alike[name] / size)))


def hosted_prices(request: Request, words: Words, shelf: Shelf) -> dict[str, Quantity]:
    """The hosted price that was given, or the class's at each date not later than asked for; its first, if all are."""
    if words["price_given"]:
        price, about = bounded(request.hosted, PER_TOKEN, "--hosted"), "a million tokens, hosted"
        return {"hosted.cost": given("hosted.cost", price, PER_TOKEN.unit, "--hosted", about)}
    found = {}
    for way in ("input", "output"):
        entries = shelf.vintages(f"serving.price.{words['class']}.{way}")
        known = [e for e in entries if not shelf.as_of or e.figure.vintage <= shelf.as_of]
        for entry in known or entries[:1]:
            at = entry.figure.vintage
            made = stated(f"{entry.name}@{at}", entry.unit, entry.figure, entry.about)
            found[f"class.{way}@{at}"] = made
    return found
