"""The comparison of fusions: results, figures and page."""
