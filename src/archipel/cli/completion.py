"""`archipel completion`: the shell completion script."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      eval "$(archipel completion bash)"
      archipel completion fish > ~/.config/fish/completions/archipel.fish
    """
    from click.shell_completion import get_completion_class

    from archipel.cli.archipel import command as root

    chosen = get_completion_class(shell)
    if chosen is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(chosen(root, {}, "archipel", "_ARCHIPEL_COMPLETE").source())
