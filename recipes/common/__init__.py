"""What recipes share: from a trained model to metrics, a bundle and a report."""
