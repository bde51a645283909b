"""The kinds of work: `spec -> run -> answer`. Kinds do not know each other, nor who asked."""
