"""`mmzoo demo DIR`."""

import webbrowser
from collections.abc import Callable

from mmzoo.export.demo.plan import read_demo
from mmzoo.export.demo.server import HOST, make_server
from mmzoo.export.demo.vendor import fetch_runtime


def serve_demo(
    path, *, port: int = 8000, open_page: bool = True, tell: Callable = print, public_key=None
) -> None:
    """Serves the page of a bundle on this computer until it is interrupted.

    Args:
        path: A bundle, or the folder of a run.
        port: TCP port; 0 for any that is free.
        open_page: Whether to open the page in the user's browser.
        tell: Called with each line for the user.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, or no page can run it.
        VendorError: If onnxruntime-web can't be had.
        PortTaken: If the port can't be listened on.
    """
    model, artifact = read_demo(path, public_key)
    with make_server(model, artifact, fetch_runtime(), port) as server:
        address = f"http://{HOST}:{server.server_address[1]}/"
        tell(f"{model['name']}: {address}  (Ctrl-C stops it)")
        if open_page:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            tell("Stopped.")
