"""TFLite files by ai-edge-litert without XNNPACK: TFLite's own operators, one by one."""

from mmzoo.export.runtimes import litert


class Runtime(litert.Runtime):
    """An interpreter on one signature of a TFLite file."""

    xnnpack = False
