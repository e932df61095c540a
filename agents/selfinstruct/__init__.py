"""Agentic self-instruct (Autodata, arXiv 2606.25996): questions a strong solver answers and a weak one does not."""
