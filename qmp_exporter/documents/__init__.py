"""A YAML file -> checked values, or every mistake in it with line and column."""
