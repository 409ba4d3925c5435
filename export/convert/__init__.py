"""Writers to SavedModel, TFLite and ONNX, and the rewrites that make them right."""
