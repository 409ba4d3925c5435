"""Bundles: artifacts, manifest, certificate, model card and signature in one folder."""
