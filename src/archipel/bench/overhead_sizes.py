"""The recipes whose distribution `overhead` measures: as they are, or enlarged."""

from archipel.records.recipe import Recipe


def of_size(recipe: Recipe, size: str, groups: int | None = None) -> Recipe:
    """The recipe as it is, or with a model of about 30M parameters and a task that one learns the form of
    in few supervised steps, so that most groups have an advantage; four times the groups, so that an
    update takes seconds. `groups` an update, if given, instead of the recipe's or the size's.
    """
    sized = recipe if size == "demo" else _enlarged(recipe)
    if groups is None:
        return sized
    run = sized.run.model_copy(update={"groups_per_update": groups})
    return sized.model_copy(update={"run": run})


def _enlarged(recipe: Recipe) -> Recipe:
    model = {"hidden_size": 512, "num_layers": 9, "num_heads": 8, "num_kv_heads": 8}
    model["intermediate_size"] = 1408
    task = {"length": 2, "alphabet": 8, "reward": "pair"}
    if recipe.supervised is None:
        raise ValueError("the recipe needs a [supervised] section to start from")
    supervised = {"steps": 30, "batch_size": 32, "learning_rate": 3e-4, "decay_steps": 5}
    return recipe.model_copy(
        update={
            "run": recipe.run.model_copy(update={"groups_per_update": 128}),
            "model": recipe.model.model_copy(update=model),
            "environment": recipe.environment.model_copy(update={"parameters": task}),
            "supervised": recipe.supervised.model_copy(update={**supervised, "gate": None}),
        }
    )
