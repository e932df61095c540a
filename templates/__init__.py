"""Words, no code: prompts, the report's page, presets of objectives and of scratch students."""
