"""Everything that asks a model: who plans, samples and judges, and the engines that run models."""
